-- Answers while they are written: which bot shows one where, and by which of the vendor's messages.
--
-- The text itself is kept nowhere. A row says that a message may stand in a chat that only the answer can end, or that must be
-- taken back: it outlives the bot that made it. The task's row is locked first, so that no draft begins after its end.

create table drafts (
    task_id         bigint not null references tasks on delete cascade,
    conversation_id bigint not null references conversations,
    holder          text not null,
    provider_ref    text,
    busy_until      timestamptz,
    lease_until     timestamptz not null,
    primary key (task_id, conversation_id)
);

-- Whether this bot may show a draft there now, and the message that shows it; until `draft_shown_v1` nobody else touches it.
create function hold_draft_v1(p_task bigint, p_conversation bigint, p_holder text, p_lease_s real, p_busy_s real)
returns table (ref text) language plpgsql as $$
begin
    perform from tasks t where t.id = p_task and t.status not in ('succeeded', 'failed', 'abandoned', 'cancelled') for share;
    if not found then return; end if;
    return query
    insert into drafts as d (task_id, conversation_id, holder, busy_until, lease_until)
    values (p_task, p_conversation, p_holder, now() + make_interval(secs => p_busy_s), now() + make_interval(secs => p_lease_s))
    on conflict (task_id, conversation_id) do update
       set holder = excluded.holder, busy_until = excluded.busy_until, lease_until = excluded.lease_until
     where d.holder = p_holder or d.lease_until < now()
    returning d.provider_ref;
end $$;

create function draft_shown_v1(p_task bigint, p_conversation bigint, p_holder text, p_ref text) returns void language plpgsql as $$
begin
    update drafts set provider_ref = p_ref, busy_until = null
     where task_id = p_task and conversation_id = p_conversation and holder = p_holder;
end $$;

-- Drafts to be taken back: those of `p_task` that this bot holds, or, with no task, those whose bot is gone. Not while an answer
-- is on its way that ends them.
create function withdrawn_drafts_v1(p_task bigint, p_holder text, p_channels text[], p_busy_s real)
returns table (task_id bigint, conversation_id bigint, ref text) language plpgsql as $$
begin
    return query
    update drafts d set holder = p_holder, busy_until = now() + make_interval(secs => p_busy_s),
           lease_until = now() + make_interval(secs => p_busy_s)
      from conversations c
     where c.id = d.conversation_id and c.channel = any (p_channels)
       and case when p_task is null then d.lease_until < now() else d.task_id = p_task and d.holder = p_holder end
       and not exists (select from outbox o where o.conversation_id = d.conversation_id and o.kind = 'text'
                       and o.status in ('pending', 'sending', 'unknown') and (o.body ->> 'task')::bigint = d.task_id)
    returning d.task_id, d.conversation_id, d.provider_ref;
end $$;

-- ---------------------------------------------------------------- further places of a task

-- Where else than at home a task is shown: its run card, its answer, and those of its approvals that this person may see.
create table followers (
    task_id         bigint not null references tasks on delete cascade,
    conversation_id bigint not null references conversations,
    principal_id    bigint not null references principals,
    since           timestamptz not null default now(),
    primary key (task_id, conversation_id)
);
create index followers_conversation on followers (conversation_id, task_id);

create function may_follow_approval(p_principal bigint, p_a approvals) returns boolean language plpgsql stable as $$
begin
    return person_of(p_a.requester_id) = person_of(p_principal) or seat_of(p_principal, p_a) is not null;
end $$;

-- Whether it is new there. Whether it may be is core/following.py's.
create function follow_task_v1(p_task bigint, p_conversation bigint, p_principal bigint) returns boolean language plpgsql as $$
declare
    a   approvals;
begin
    perform from tasks where id = p_task for update;
    insert into followers (task_id, conversation_id, principal_id) values (p_task, p_conversation, p_principal) on conflict do nothing;
    if not found then return false; end if;
    perform place_card('task', p_task, null, p_conversation);
    for a in select * from approvals x where x.task_id = p_task and x.status = 'pending' and x.merged_into is null order by x.created_at loop
        if may_follow_approval(p_principal, a) then
            perform place_card('approval', p_task, a.id, p_conversation);
        end if;
    end loop;
    return true;
end $$;

create function show_to_followers() returns trigger language plpgsql as $$
declare
    f   followers;
begin
    for f in select * from followers x where x.task_id = new.task_id order by x.conversation_id loop
        if may_follow_approval(f.principal_id, new) then
            perform place_card('approval', new.task_id, new.id, f.conversation_id);
        end if;
    end loop;
    return null;
end $$;
create trigger show_to_followers after insert on approvals for each row execute function show_to_followers();

-- ---------------------------------------------------------------- what happened meanwhile

-- When a person was last seen is when they last wrote: no write of its own.
create index inbound_principal on inbound (principal_id, id);
create index principals_same on principals (same_as) where same_as is not null;
create index approvals_decided on approvals (decided_at) where decided_at is not null;
