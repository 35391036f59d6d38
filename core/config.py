"""Every limit of Sayso, by name and with its unit. Nothing else lives here; what an operator sets is in `core.settings`."""

from __future__ import annotations

from typing import Final

# ---------------------------------------------------------------- engine
LEASE_S: Final = 15.0
HEARTBEAT_S: Final = 5.0
WORKER_SLOTS: Final = 32
URGENT_SLOTS: Final = 4
IDLE_POLL_S: Final = 1.0
SWEEP_EVERY_S: Final = 1.0
SWEEP_SLACK_S: Final = 0.25
APART_S: Final = 0.4  # within this a step is ready again that a worker died over for the first time: apart_s, in SQL
GRACE_S: Final = 10.0
EVIDENCE_WITHIN_S: Final = 1.0
HAND_BACK_AFTER_S: Final = 1.5
STEP_ATTEMPTS: Final = 3
RETRY_FIRST_S: Final = 1.0
RETRY_MOST_S: Final = 300.0
QUICK_STEP_S: Final = 0.005
AHEAD_MOST: Final = 128
AHEAD_S: Final = 0.1
BEGUN_AT_ONCE: Final = 8
SHARED_WITHIN_S: Final = 0.02
PROBE_HOLD_S: Final = 30.0
PROBE_BATCH: Final = 20
STEP_TIMEOUT_S: Final = 30.0
STEP_TIMEOUT_MOST_S: Final = 600.0
PLAN_STEPS_MOST: Final = 50
TURNS_MOST: Final = 12
TURN_TIMEOUT_S: Final = 120.0
LANES: Final = ("urgent", "default")
PRIORITIES: Final = ("urgent", "high", "normal", "low")
WAIT_WITHIN_S: Final = 24 * 3600
WAIT_MOST_S: Final = 90 * 24 * 3600
POLL_EVERY_S: Final = 30
POLL_LEAST_S: Final = 1
POLLS_MOST: Final = 100_000  # looks of one wait: each leaves five rows of history
RATE_LIMIT_WAIT_MOST_S: Final = 3600.0
OUTAGE_WAIT_MOST_S: Final = 900.0
CHILD_DEPTH_MOST: Final = 3
CHILDREN_MOST: Final = 20
EVENTS_UNREAD_MOST: Final = 100
EVENT_BYTES: Final = 64_000
EVENTS_SHOWN: Final = 40
EVENTS_KEPT_S: Final = 7 * 24 * 3600

# ---------------------------------------------------------------- processes
# Workers beside a bot on one machine give way to it: who waits for an answer is a person, or a vendor.
WORKER_NICE: Final = 5

# ---------------------------------------------------------------- rings
RING_CAP_S: Final = 0.25
RING_GAP_S: Final = 0.01
RING_READ_AFTER_S: Final = 0.02
BELL_POLL_S: Final = 0.5
RING_JOB_EXPIRES_MS: Final = 60_000
REDIS_TIMEOUT_S: Final = 3.0

# ---------------------------------------------------------------- gate
APPROVAL_EXPIRES_S: Final = 24 * 3600
SIMILAR_USES: Final = 5
SIMILAR_USES_MOST: Final = 50
SIMILAR_S: Final = 30 * 60
SIMILAR_MOST_S: Final = 24 * 3600
GRANT_S: Final = 30 * 24 * 3600
GRANT_MOST_S: Final = 90 * 24 * 3600
GRANT_USES_MOST: Final = 100_000
PATTERN_CHARS: Final = 500
AWAY_MOST_S: Final = 92 * 24 * 3600
QUESTION_CHARS: Final = 500
CARD_ITEMS_MOST: Final = 20
REPORT_DAYS: Final = 30
HABIT_DAYS: Final = 7
GROUP_LOOKUP_S: Final = 1.5
GROUPS_EVERY_S: Final = 300.0
PAIRING_EXPIRES_S: Final = 3600
PAIRINGS_MOST: Final = 3
REASON_CHARS: Final = 500
LOGIN_EXPIRES_S: Final = 900
SESSION_EXPIRES_S: Final = 30 * 24 * 3600

# ---------------------------------------------------------------- ladder and SMS
LADDER_BATCH: Final = 200
LADDER_MOVES_MOST: Final = 20
SMS_CHARS: Final = 160
SMS_WRONG_MOST: Final = 5
SMS_WRONG_WITHIN_S: Final = 600
SMS_LINK_EXPIRES_S: Final = 600
SMS_LINKS_MOST: Final = 3
SMS_LINKS_WITHIN_S: Final = 3600
SMS_STRANGER_ANSWER_S: Final = 3600
SMS_LOST_AFTER_S: Final = 60.0
SMS_BODY_BYTES: Final = 64_000
SMS_FIELDS_MOST: Final = 100

# ---------------------------------------------------------------- what comes in
INBOUND_CHARS: Final = 40_000
GOAL_CHARS: Final = 500
# Orders that arrive while so many statements write others wait, and go into the next one together.
ORDERS_WRITING_MOST: Final = 2
ORDERS_BATCH: Final = 32
BODY_BYTES: Final = 1_000_000
SIGNATURE_SKEW_S: Final = 300
IDEMPOTENCY_KEY_CHARS: Final = 200

# ---------------------------------------------------------------- attachments
ATTACHMENTS_MOST: Final = 10
# Telegram lets a bot fetch 20 MB and no more; the same holds for every channel.
ATTACHMENT_BYTES: Final = 20_000_000
# What one message brings by the web, in one body.
UPLOAD_BYTES: Final = ATTACHMENT_BYTES + 1_000_000
ATTACHMENT_NAME_CHARS: Final = 80
ATTACHMENT_TRIES: Final = 8
ATTACHMENT_LEASE_S: Final = 90.0
ATTACHMENT_FETCH_S: Final = 60.0
ATTACHMENT_POLL_S: Final = 5.0
# The sweeper looks for voices too, each second.
VOICE_POLL_S: Final = 30.0
ATTACHMENTS_BATCH: Final = 8
# So long a task's turn waits for what came with its message.
ATTACHMENTS_WAIT_S: Final = 120.0
# So long a file without words waits for the words that say what to do with it.
ATTACHMENT_LOOSE_S: Final = 1800.0
# Shorter than the lease of what is written down, so that nobody begins it a second time meanwhile.
TRANSCRIBE_S: Final = 75.0

# ---------------------------------------------------------------- what goes out
MESSAGE_LEASE_S: Final = 30.0
SEND_TIMEOUT_S: Final = 25.0
MESSAGE_ATTEMPTS: Final = 12
MESSAGE_RETRY_FIRST_S: Final = 1.0
MESSAGE_RETRY_MOST_S: Final = 300.0
MESSAGES_BATCH: Final = 20
MESSAGES_BATCH_BUSY: Final = 5
CARD_EDIT_GAP_S: Final = 1.0
CARD_TICK_S: Final = 60.0
CARDS_TICKED_MOST: Final = 200
CARDS_REMEMBERED: Final = 10_000
COURIER_POLL_S: Final = 1.0
# So long the first post of a task's card waits for the end of a quick task: well within a receipt's second.
RECEIPT_HOLD_S: Final = 0.1
CARD_AFTER_PRESS_S: Final = 0.03
LOOP_BUSY_S: Final = 0.01
GIVE_WAY_S: Final = 0.05
GIVE_WAY_MOST: Final = 20
COURIER_STUCK_S: Final = 600.0
DRAFT_GAP_S: Final = 0.33
DRAFT_SHOW_GAP_S: Final = 1.0
DRAFT_CHARS_LEAST: Final = 60
DRAFT_CHARS_MOST: Final = 8_000
DRAFT_SILENCE_S: Final = 90.0
DRAFT_LEASE_S: Final = 150.0
DRAFTS_MOST: Final = 100
MISSED_LISTED: Final = 5
DIGEST_AFTER_S: Final = 8 * 3600
ABSENCE_LEAST_S: Final = 3600
DIGEST_S: Final = 24 * 3600
DIGEST_MOST_S: Final = 30 * 24 * 3600
RESULT_BYTES: Final = 1_000_000
EVENTS_PAGE: Final = 500
LIST_PAGE: Final = 100

# ---------------------------------------------------------------- upkeep
UPKEEP_LOOK_S: Final = 15.0
UPKEEP_ROUND_S: Final = 10.0
UPKEEP_REST_S: Final = 3600.0
QUARANTINE_EVERY_S: Final = 300.0
UPKEEP_SHARE: Final = 0.25
UPKEEP_WINDOW: Final = 200
ARCHIVE_AFTER_S: Final = 30 * 24 * 3600
ARCHIVE_DROP_AFTER_S: Final = 400 * 24 * 3600
INBOUND_KEEP_S: Final = 90 * 24 * 3600
# The longest that a vendor delivers a message again: Telegram keeps undelivered updates for a day; and room.
REDELIVERY_S: Final = 7 * 24 * 3600
OUTBOX_KEEP_S: Final = 90 * 24 * 3600
CARD_EDITS_KEEP_S: Final = 24 * 3600
LLM_CALLS_KEEP_S: Final = 90 * 24 * 3600
LEFTOVERS_KEEP_S: Final = 30 * 24 * 3600

# ---------------------------------------------------------------- figures
MEASURES_FLUSH_S: Final = 10.0
ALERTS_EVERY_S: Final = 15.0
ALERT_CLEAR_LEAST_S: Final = 60.0

# ---------------------------------------------------------------- audit
AUDIT_BATCH: Final = 500
AUDIT_ANCHOR_EVERY_S: Final = 10
AUDIT_ANCHOR_TIMEOUT_S: Final = 5.0

# ---------------------------------------------------------------- database
POOL_MOST: Final = 10
BOT_POOL_MOST: Final = 16
PART_RETRY_MOST_S: Final = 30.0
STATEMENT_TIMEOUT_S: Final = 30
CONNECT_TIMEOUT_S: Final = 10
LEAVE_S: Final = 5.0  # for each of a process's last words, and for what still holds a connection
MIGRATION_LOCK: Final = 5_720_001
SWEEPER_LOCK: Final = 5_720_002
WORKER_LOCK: Final = 5_720_003
POLLING_LOCK: Final = 5_720_004
AUDIT_LOCK: Final = 5_720_008
