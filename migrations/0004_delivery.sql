-- The courier's moves: messages leave per conversation in order of their id, one at a time.
--
-- A message is claimed ('sending', under a lease), then sent, put back with a backoff, given up, or left unknown when the
-- answer was lost. Only the oldest open message of a conversation may be claimed: order is kept, other places go on. The edit
-- of a card that waits for its time holds nothing up: it changes its own place, and a question must not wait for progress. Nor
-- does a file that waits: its words are there.
--
-- The first post of a task's card is left for `p_hold_s` while the task works: one that is over by then costs one message, not
-- a post and an edit. Nothing is written for it, so a courier that dies holds nothing.

create function claim_messages_v1(p_channels text[], p_limit integer, p_lease_s real, p_hold_s real default 0)
returns table (id bigint, kind text, body jsonb, attempts integer, status text, conversation_id bigint, channel text, external_id text,
               thread text, is_private boolean, card_id bigint, subject text, task_id bigint, approval_id uuid, card_ref text, wanted integer,
               shown_hash text)
language plpgsql as $$
declare
    picked  bigint[];
begin
    with heads as materialized (
        select distinct on (o.conversation_id) o.id, o.status, o.next_at
          from outbox o where o.status in ('pending', 'sending', 'unknown')
           and not (o.status = 'pending' and o.next_at > now()
                    and (o.kind = 'file'
                         or exists (select from cards k where k.id = o.card_id and k.provider_ref is not null)))
         order by o.conversation_id, o.id),
    pick as materialized (
        select o.id from outbox o join heads h on h.id = o.id join conversations c on c.id = o.conversation_id
         where h.status = 'pending' and h.next_at <= now() and c.channel = any (p_channels) and o.status = 'pending'
           and not (o.card_id is not null and o.created_at > now() - make_interval(secs => p_hold_s)
                    and exists (select from cards k join tasks t on t.id = k.task_id
                                 where k.id = o.card_id and k.subject = 'task' and k.provider_ref is null
                                   and t.status in ('queued', 'planning', 'running')))
         order by o.id limit p_limit for update of o skip locked),
    mine as (
        update outbox o set status = 'sending', attempts = o.attempts + 1, lease_until = now() + make_interval(secs => p_lease_s)
          from pick where o.id = pick.id returning o.id)
    select array_agg(mine.id) into picked from mine;
    -- In a statement of its own, to see what was wanted of a card by those who held its message a moment ago.
    return query
    select m.id, m.kind, m.body, m.attempts, m.status, m.conversation_id, c.channel, c.external_id, c.thread, c.is_private,
           m.card_id, k.subject, k.task_id, k.approval_id, k.provider_ref, k.wanted, k.shown_hash
      from outbox m join conversations c on c.id = m.conversation_id left join cards k on k.id = m.card_id
     where m.id = any (picked) order by m.id;
end $$;

-- `p_hash` is of what the chat shows now. The card of work that goes on is to be shown again when time has gone by. Words that
-- the chat shows shortened are followed by a file with all of them.
create function message_sent_v1(p_id bigint, p_ref text, p_shown integer, p_hash text default null, p_tick_s real default null,
                                p_shortened boolean default false)
returns void language plpgsql as $$
declare
    m   outbox;
begin
    update outbox set status = 'sent', provider_ref = p_ref, sent_at = now(), lease_until = null, error = null
     where id = p_id and status in ('sending', 'unknown') returning * into m;
    if m.card_id is not null then
        update cards k set provider_ref = coalesce(provider_ref, p_ref), shown = greatest(shown, p_shown), shown_hash = p_hash,
               tick_at = case when k.subject = 'task' and exists (select from tasks t where t.id = k.task_id
                              and t.status in ('planning', 'running')) then now() + make_interval(secs => p_tick_s) end
         where id = m.card_id;
    end if;
    if p_shortened and m.id is not null then
        insert into outbox (conversation_id, kind, body, dedup) values (m.conversation_id, 'file', m.body, 'whole:' || m.id)
        on conflict (dedup) do nothing;
    end if;
end $$;

-- Cards that have shown the same for a while, of work that goes on.
create function tick_cards_v1(p_limit integer) returns integer language plpgsql as $$
declare
    told    integer;
begin
    with due as materialized (
        select k.id from cards k where k.tick_at <= now() order by k.tick_at limit p_limit for update skip locked),
    stale as (
        update cards k set wanted = k.wanted + 1, tick_at = null from due where k.id = due.id returning k.id, k.conversation_id)
    insert into outbox (conversation_id, card_id, kind) select s.conversation_id, s.id, 'card' from stale s order by s.id
    on conflict (card_id) where status = 'pending' and card_id is not null do update set kind = excluded.kind where false;
    get diagnostics told = row_count;
    return told;
end $$;

-- Not sent for certain: again after `p_retry_s`, or dead when that is null. A newer waiting message of the same card replaces it.
create function message_failed_v1(p_id bigint, p_error text, p_retry_s real, p_charged boolean) returns void language plpgsql as $$
declare
    m   outbox;
begin
    select * into m from outbox where id = p_id and status in ('sending', 'unknown') for update;
    if not found then return; end if;
    if p_charged then
        update cards set shown_hash = null where id = m.card_id;    -- an error of ours may have come after the edit
    end if;
    loop
        if p_retry_s is not null and m.card_id is not null then
            delete from outbox where card_id = m.card_id and status = 'pending';
        end if;
        begin
            update outbox set status = case when p_retry_s is null then 'dead' else 'pending' end, error = p_error,
                   lease_until = null, next_at = now() + make_interval(secs => coalesce(p_retry_s, 0)),
                   attempts = case when p_charged then attempts else greatest(attempts - 1, 0) end where id = p_id;
            return;
        exception when unique_violation then
            null;       -- the newer one was written just now: once more
        end;
    end loop;
end $$;

create function message_unknown_v1(p_id bigint, p_error text) returns void language plpgsql as $$
declare
    m   outbox;
begin
    update outbox set status = 'unknown', error = p_error, lease_until = null where id = p_id and status = 'sending' returning * into m;
    update cards set shown_hash = null where id = m.card_id;
end $$;

-- Messages whose sender is gone: it is not known whether the chat has them.
create function stranded_messages_v1() returns setof bigint language plpgsql as $$
begin
    return query
    with lost as (
        update outbox set status = 'unknown', lease_until = null, error = 'the sender was lost'
         where status = 'sending' and lease_until < now() returning outbox.id, outbox.card_id),
    unsure as (
        update cards k set shown_hash = null from lost where k.id = lost.card_id)
    select lost.id from lost;
end $$;
