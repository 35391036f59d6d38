-- Silence: who is told next while nobody answers, and how a phone may answer.
--
-- An approval's `rungs` are written down once, from the ladder that its rule names, and each is climbed once: conversation,
-- then direct messages (`asks`, one per person and channel), then SMS; the last rung is the approval's own deadline. A tick
-- looks at approvals whose `climb_at` has come; whatever ends a delivery leaves a row in `ladder_wakes`, so that a rung that
-- reached nobody is left at once. An SMS carries a code of which only the keyed hash is kept.

alter table approvals add column climb_at timestamptz not null default '-infinity';
create index approvals_climb on approvals (climb_at) where status = 'pending';

create table rungs (
    approval_id     uuid not null references approvals on delete cascade,
    n               smallint not null,
    kind            text not null check (kind in ('conversation', 'direct', 'sms')),
    max_risk        text,
    wakes           boolean not null default false,
    due_at          timestamptz not null,
    climbed_at      timestamptz,
    why             text not null default '',
    primary key (approval_id, n)
);

-- Whom a rung asks, and where. `due_at` later than the climb: put off by quiet hours. `skipped`: why not asked there.
create table asks (
    id              bigint generated always as identity primary key,
    approval_id     uuid not null,
    n               smallint not null,
    principal_id    bigint references principals,
    channel         text not null,
    external_id     text not null default '',
    due_at          timestamptz not null,
    asked_at        timestamptz,
    card_id         bigint references cards on delete set null,
    skipped         text,
    unique nulls not distinct (approval_id, n, principal_id, channel, external_id),
    foreign key (approval_id, n) references rungs (approval_id, n) on delete cascade
);

-- Who of those that may decide has had it before their eyes on a page. A program that asks the API proves no person's eyes.
create table approval_opens (
    approval_id     uuid not null references approvals on delete cascade,
    principal_id    bigint not null references principals,
    opened_at       timestamptz not null default sayso_now(),
    primary key (approval_id, principal_id)
);

create table failed_deliveries (
    id              bigint generated always as identity primary key,
    approval_id     uuid not null references approvals on delete cascade,
    card_id         bigint not null,
    channel         text not null,
    why             text not null,
    failed_at       timestamptz not null default sayso_now()
);
create index asks_card on asks (card_id) where card_id is not null;
create index failed_deliveries_approval on failed_deliveries (approval_id);

create table ladder_wakes (approval_id uuid not null);

-- Written beside the row, never into the approval: whoever ends a delivery holds the message's lock, and the approval's
-- comes before it.
create function note_delivery_end() returns trigger language plpgsql as $$
begin
    insert into ladder_wakes (approval_id) select approval_id from cards where id = new.card_id and approval_id is not null;
    if new.status = 'dead' then
        insert into failed_deliveries (approval_id, card_id, channel, why)
        select k.approval_id, k.id, c.channel, coalesce(new.error, '') from cards k join conversations c on c.id = k.conversation_id
          join approvals a on a.id = k.approval_id and a.status = 'pending'
         where k.id = new.card_id and k.provider_ref is null;
    end if;
    return null;
end $$;

create trigger delivery_ends after update of status on outbox for each row
    when (new.card_id is not null and (new.status = 'dead' or new.status = 'sent' and new.provider_ref like 'SM%'))
    execute function note_delivery_end();

-- ---------------------------------------------------------------- phones

create table sms_numbers (
    phone           text primary key,
    principal_id    bigint references principals,
    opted_in_at     timestamptz,
    opted_in_how    text not null default '',
    opted_out_at    timestamptz
);

-- One per approval and phone, or per linking of a phone. Without `code_hash` the SMS held a link only.
create table sms_codes (
    id              bigint generated always as identity primary key,
    purpose         text not null check (purpose in ('approval', 'link')),
    approval_id     uuid references approvals on delete cascade,
    principal_id    bigint not null references principals,
    phone           text not null,
    digest          text not null default '',
    code_hash       text,
    message_id      bigint,
    wrong           integer not null default 0,
    minted_at       timestamptz not null default sayso_now(),
    expires_at      timestamptz not null,
    used_at         timestamptz,
    check ((purpose = 'approval') = (approval_id is not null))
);
create unique index sms_codes_one on sms_codes (approval_id, phone) where purpose = 'approval';
create index sms_codes_open on sms_codes (phone) where used_at is null;
create index sms_codes_approval on sms_codes (approval_id) where approval_id is not null;
create index sms_codes_links on sms_codes (principal_id, minted_at) where purpose = 'link';

-- What came in, by the vendor's id: the same delivery again gets the same answer. Never the text, which may hold a code.
create table sms_received (
    message_sid     text primary key,
    phone           text not null,
    outcome         jsonb not null,
    received_at     timestamptz not null default sayso_now()
);
create index sms_received_phone on sms_received (phone, received_at);

create table sms_wrong (
    phone           text not null,
    tried_at        timestamptz not null default sayso_now()
);
create index sms_wrong_phone on sms_wrong (phone, tried_at);

create table sms_receipts (
    id              bigint generated always as identity primary key,
    message_sid     text not null,
    status          text not null,
    error_code      text not null default '',
    received_at     timestamptz not null default sayso_now(),
    unique (message_sid, status)
);

-- ---------------------------------------------------------------- where it was asked

-- Each card of the approval and what became of it: failed | open (on its way) | unknown | reached. `owner` is whose private
-- conversation it is; null for a shared place, or where nobody knows.
create function asked_where(p_approval uuid)
returns table (card_id bigint, channel text, external_id text, owner bigint, state text) language plpgsql stable as $$
begin
    return query
    select k.id, c.channel, c.external_id,
           case when c.is_private then coalesce(
               (select person_of(i.principal_id) from identities i where i.channel = c.channel and i.external_id = c.external_id),
               (select person_of(b.principal_id) from inbound b
                 where b.conversation_id = c.id and b.principal_id is not null limit 1)) end,
           case when exists (select from sms_receipts r where r.message_sid = k.provider_ref and r.status = 'delivered') then 'reached'
                when exists (select from sms_receipts r where r.message_sid = k.provider_ref
                              and r.status in ('undelivered', 'failed', 'canceled')) then 'failed'
                when k.provider_ref is not null then 'reached'
                when exists (select from outbox o where o.card_id = k.id and o.status = 'unknown') then 'unknown'
                when exists (select from outbox o where o.card_id = k.id and o.status in ('pending', 'sending')) then 'open'
                else 'failed' end
      from cards k join conversations c on c.id = k.conversation_id where k.approval_id = p_approval order by k.id;
end $$;

-- For the deadline: the ladder was climbed, and no card of it came to be where somebody who may decide could see it.
create function nobody_was_asked(p_approval uuid) returns boolean language plpgsql stable as $$
declare
    a   approvals;
begin
    select * into a from approvals where id = p_approval;
    return exists (select from rungs where approval_id = p_approval and climbed_at is not null)
       and not exists (select from approval_opens where approval_id = p_approval)
       and not exists (select from decisions where approval_id = p_approval)
       and not exists (select from asked_where(p_approval) w where w.state in ('reached', 'unknown')
                          and (w.owner is null or seat_of(w.owner, a) is not null));
end $$;

-- ---------------------------------------------------------------- climbing

create function climb_v1(p_approval uuid, p_n smallint, p_why text, p_asks jsonb) returns boolean language plpgsql as $$
declare
    v_task  bigint;
    a       approvals;
    r       rungs;
    one     jsonb;
    made    bigint;
begin
    select task_id into v_task from approvals where id = p_approval;
    perform 1 from tasks where id = v_task for update;
    select * into a from approvals where id = p_approval for update;
    if a.status is distinct from 'pending' then return false; end if;
    update rungs set climbed_at = sayso_now(), why = p_why
     where approval_id = p_approval and n = p_n and climbed_at is null returning * into r;
    if not found then return false; end if;
    if r.kind = 'conversation' then     -- its cards were written when the question was asked
        insert into asks (approval_id, n, principal_id, channel, external_id, due_at, asked_at, card_id)
        select p_approval, p_n, w.owner, w.channel, w.external_id, sayso_now(), sayso_now(), w.card_id
          from asked_where(p_approval) w on conflict do nothing;
    end if;
    for one in select e.value from jsonb_array_elements(p_asks) e loop
        insert into asks (approval_id, n, principal_id, channel, external_id, due_at, skipped)
        values (p_approval, p_n, (one ->> 'person')::bigint, one ->> 'channel', one ->> 'address',
                (one ->> 'due_at')::timestamptz, one ->> 'skipped')
        on conflict do nothing returning id into made;
        if made is not null and one ->> 'skipped' is null and (one ->> 'due_at')::timestamptz <= sayso_now() then
            perform write_ask(made);
        end if;
        made := null;
    end loop;
    return true;
end $$;

-- The card of one ask; the caller holds the task and the approval.
create function write_ask(p_ask bigint) returns void language plpgsql as $$
declare
    k       asks;
    place   bigint;
begin
    update asks set asked_at = sayso_now() where id = p_ask and asked_at is null and skipped is null returning * into k;
    if not found then return; end if;
    insert into conversations (channel, external_id, is_private) values (k.channel, k.external_id, true)
    on conflict (channel, external_id, thread) do update set title = conversations.title returning id into place;
    perform place_card('approval', (select task_id from approvals where id = k.approval_id), k.approval_id, place);
    update asks set card_id = (select id from cards where approval_id = k.approval_id and conversation_id = place)
     where id = p_ask;
end $$;

-- An ask that quiet hours had put off.
create function ask_now_v1(p_ask bigint) returns boolean language plpgsql as $$
declare
    v_approval  uuid;
    v_task      bigint;
    v_status    text;
begin
    select k.approval_id, a.task_id into v_approval, v_task from asks k join approvals a on a.id = k.approval_id where k.id = p_ask;
    perform 1 from tasks where id = v_task for update;
    select status into v_status from approvals where id = v_approval for update;
    if v_status is distinct from 'pending' then return false; end if;
    perform write_ask(p_ask);
    return true;
end $$;

-- Nobody may decide, or nobody could be reached: an end of its own, which is no answer of anybody.
create function undeliverable_v1(p_approval uuid, p_why text) returns boolean language plpgsql as $$
declare
    v_task  bigint;
    a       approvals;
    t       tasks;
begin
    select task_id into v_task from approvals where id = p_approval;
    select * into t from tasks where id = v_task for update;
    perform 1 from steps where task_id = v_task and approval_id = p_approval order by n for update;
    select * into a from approvals where id = p_approval for update;
    if a.status is distinct from 'pending' or a.kind = 'unknown' then return false; end if;
    perform act_as('sweeper', p_why);
    update approvals set status = 'undeliverable', reason = p_why where id = p_approval;
    perform end_asked_steps(a, 'skipped', 'undeliverable', 'Nobody could be asked: ' || p_why, t.status = 'paused');
    perform settle(a.task_id);
    return true;
end $$;

-- ---------------------------------------------------------------- codes

create index cards_by_sms on cards (provider_ref) where provider_ref like 'SM%';

-- The code (its keyed hash; null: a link only) that message `p_message` carries. Answers null, or why nothing may be sent.
-- A second message for the same approval and phone is refused: the first one may have arrived.
create function sms_mint_v1(p_approval uuid, p_phone text, p_message bigint, p_hash text) returns text language plpgsql as $$
declare
    a   approvals;
    who bigint;
begin
    select * into a from approvals where id = p_approval;
    if a.status is distinct from 'pending' or a.expires_at <= sayso_now() then return 'it is decided, or its time is over'; end if;
    if coalesce(a.card ->> 'risk', 'critical') not in ('low', 'medium', 'high') then return 'it is too risky for SMS'; end if;
    select principal_id into who from identities where channel = 'sms' and external_id = p_phone;
    if who is null or seat_of(who, a) is null then return 'nobody at this number may decide it'; end if;
    if not exists (select from sms_numbers where phone = p_phone and principal_id = who
                      and opted_in_at is not null and opted_out_at is null) then
        return 'its holder has not agreed to SMS, or said STOP';
    end if;
    insert into sms_codes (purpose, approval_id, principal_id, phone, digest, code_hash, message_id, expires_at)
    values ('approval', p_approval, who, p_phone, a.digest, p_hash, p_message, a.expires_at)
    on conflict (approval_id, phone) where purpose = 'approval'
    do update set code_hash = excluded.code_hash, minted_at = excluded.minted_at
     where sms_codes.message_id = p_message and sms_codes.used_at is null;
    if not found then return 'it was sent to this phone before'; end if;
    return null;
end $$;

-- What the vendor says became of a message. One whose answer was lost is known to be sent by it.
create function sms_receipt_v1(p_sid text, p_status text, p_error text, p_message bigint) returns boolean language plpgsql as $$
declare
    m   outbox;
begin
    insert into sms_receipts (message_sid, status, error_code) values (p_sid, p_status, p_error) on conflict do nothing;
    if not found then return false; end if;
    select o.* into m from outbox o join conversations c on c.id = o.conversation_id
     where o.id = p_message and c.channel = 'sms' and o.status = 'unknown' for update of o;
    if m.id is not null then
        perform message_sent_v1(m.id, p_sid, coalesce((select wanted from cards where id = m.card_id), 0));
    end if;
    insert into ladder_wakes (approval_id)
    select k.approval_id from cards k where k.provider_ref = p_sid and k.provider_ref like 'SM%' and k.approval_id is not null;
    return true;
end $$;
