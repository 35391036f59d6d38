-- The engine's moves.
--
-- A worker *claims* ready steps, *begins* those that touch the world (the last database act before the call: it consumes
-- the approval and writes the intent), and *completes* them: outcome, ready dependents and the next claim in one commit.
-- A risky step is *parked* behind an approval and *decided* on; a step whose outcome is not known is *lost* and later
-- *resolved* by a probe or a person.
--
-- Lock order everywhere: task row first, in a statement of its own (so that what follows sees the sibling's commit),
-- then steps ascending, approval, effect, outbox. claim alone does not touch the task row and never waits.
-- Hot functions carry a version: an old worker keeps calling _v1 while a new one calls _v2.

create type claimed_step as (
    task_id bigint, n integer, kind text, skill text, args jsonb, origins jsonb, effect_class text, needs integer[],
    fence bigint, attempt smallint, max_attempts smallint, gen smallint, timeout_s real, approval_id uuid,
    effect_state text, goal text, plan_version integer, requester_id bigint, conversation_id bigint, lane text,
    requester_key text, requester_name text, requester_roles text[], is_service boolean, is_active boolean,
    channel text, place text, own_words text[], grants jsonb, approval jsonb, editors jsonb, seen_at timestamptz, waited_s float8
);

-- Who acts and why, for the events that the moves of this transaction write.
create function act_as(p_actor text, p_why text) returns void language plpgsql as $$
begin
    perform set_config('sayso.actor', coalesce(p_actor, ''), true), set_config('sayso.why', coalesce(p_why, ''), true);
end $$;

create function is_alive(p_worker bigint) returns boolean language plpgsql stable as $$
begin
    return exists (select from workers where id = p_worker and lease_until > now());
end $$;

-- ---------------------------------------------------------------- cards

-- Every card of these tasks is stale: one waiting message per card, however many changes. A message that waits already is
-- locked until this commits, else a courier could take it now, render what was, and leave the change unsaid for ever.
create function touch_all_cards(p_tasks bigint[]) returns void language plpgsql as $$
begin
    with stale as (
        update cards set wanted = wanted + 1 where task_id = any (p_tasks) returning id, conversation_id)
    insert into outbox (conversation_id, card_id, kind) select s.conversation_id, s.id, 'card' from stale s order by s.id
    on conflict (card_id) where status = 'pending' and card_id is not null do update set kind = excluded.kind where false;
end $$;

create function touch_cards(p_task bigint) returns void language plpgsql as $$
begin
    perform touch_all_cards(array[p_task]);
end $$;

create function place_card(p_subject text, p_task bigint, p_approval uuid, p_conversation bigint) returns void
language plpgsql as $$
declare
    card bigint;
begin
    insert into cards (subject, task_id, approval_id, conversation_id)
    values (p_subject, p_task, p_approval, p_conversation) on conflict do nothing returning id into card;
    if card is not null then
        insert into outbox (conversation_id, card_id, kind) values (p_conversation, card, 'card');
    end if;
end $$;

-- ---------------------------------------------------------------- tasks

-- Moves a locked task, by way of 'running' where the direct move is not legal.
create function move_task(p_task bigint, p_to text) returns void language plpgsql as $$
declare
    was text;
    ends boolean := p_to in ('succeeded', 'failed', 'abandoned', 'cancelled');
begin
    select status into was from tasks where id = p_task;
    if was = p_to then return; end if;
    if not exists (select from transitions where machine = 'task' and from_state = was and to_state = p_to) then
        update tasks set status = 'running', finished_at = null where id = p_task;
    end if;
    if not ends then
        update tasks set status = p_to, finished_at = null where id = p_task;
        return;
    end if;
    update tasks t set status = p_to, finished_at = sayso_now(),
        result = case when p_to = 'succeeded' then (
            select s.result from steps s
             where s.task_id = p_task and s.status = 'succeeded' and s.dependents = '{}' order by s.n desc limit 1) end,
        error = case when p_to in ('failed', 'abandoned') then (
            select s.error from steps s
             where s.task_id = p_task and not s.handled
               and s.outcome in ('error', 'refused', 'denied', 'expired', 'undeliverable', 'given_up')
             order by (s.outcome in ('error', 'refused')) desc, s.n limit 1) end
     where t.id = p_task;
    perform end_yes(array_agg(a.id), 'the task has ended') from approvals a
     where a.task_id = p_task and a.status = 'approved' having count(*) > 0;
    perform say_answers(array[p_task]);
end $$;

-- No yes is left over: of several items it was used up with those that ran; what nobody used for an action is for nothing any more.
create function end_yes(p_approvals uuid[], p_why text) returns void language plpgsql as $$
begin
    update approvals a set status = case when u.is_used then 'consumed' else 'cancelled' end,
           reason = case when u.is_used then a.reason else p_why end
      from (select x.id, exists (select from effects e where e.task_id = x.task_id and e.approval_id = x.id) as is_used
              from approvals x where x.id = any (p_approvals)) u
     where a.id = u.id and a.status = 'approved';
end $$;

-- An edited card makes no sound in these chats: what a planned task came to is a message of its own.
create function say_answers(p_tasks bigint[]) returns void language plpgsql as $$
begin
    insert into outbox (conversation_id, kind, body, dedup)
    select c.id, 'text', jsonb_build_object('task', t.id), 'answer:' || t.id || ':' || t.version || ':' || c.id
      from tasks t join cards k on k.task_id = t.id and k.subject = 'task' join conversations c on c.id = k.conversation_id
     where t.id = any (p_tasks) and t.kind = 'plan' and t.parent_id is null and t.status <> 'cancelled'
       and c.channel in ('slack', 'telegram')
    on conflict (dedup) do nothing;
end $$;

-- What the task becomes now that its steps are as they are: core/state.py task_after, in SQL. The caller holds the lock.
create function settle(p_task bigint) returns text language plpgsql as $$
declare
    becomes text;
begin
    becomes := settle_quietly(p_task);
    perform touch_cards(p_task);
    return becomes;
end $$;

-- The same for a caller that touches the cards of many tasks at once.
create function settle_quietly(p_task bigint) returns text language plpgsql as $$
declare
    was         text;
    becomes     text;
    busy        integer;
    planning    integer;
    held        integer;
    blocked     integer;
    running     integer;
    unknown     integer;
    failures    integer;
    given_up    integer;
begin
    select status into was from tasks where id = p_task;
    if was in ('succeeded', 'failed', 'abandoned', 'cancelled', 'paused') then return was; end if;
    select count(*) filter (where status in ('ready', 'running')),
           count(*) filter (where status in ('ready', 'running') and kind = 'plan'),
           count(*) filter (where status in ('waiting', 'awaiting_approval', 'unknown')),
           count(*) filter (where status = 'blocked'),
           count(*) filter (where status = 'running'),
           count(*) filter (where status = 'unknown'),
           count(*) filter (where not handled and outcome in ('error', 'refused')),
           count(*) filter (where not handled and outcome in ('denied', 'expired', 'undeliverable', 'given_up'))
      into busy, planning, held, blocked, running, unknown, failures, given_up
      from steps where task_id = p_task;
    if was = 'cancelling' then
        becomes := case when running + unknown > 0 then 'cancelling' else 'cancelled' end;
    elsif busy + held + blocked > 0 then
        becomes := case when planning > 0 then 'planning' when busy > 0 then 'running' else 'waiting' end;
    else
        becomes := case when failures > 0 then 'failed' when given_up > 0 then 'abandoned' else 'succeeded' end;
    end if;
    perform move_task(p_task, becomes);
    return becomes;
end $$;

-- `p_steps` is an array of PlannedStep (core/models.py). Numbers are given by the planner, ascending.
create function insert_steps(p_task bigint, p_steps jsonb) returns integer language plpgsql as $$
declare
    t       tasks;
    s       jsonb;
    v_needs integer[];
    open_   integer;
    broken  integer;
    made    integer := 0;
begin
    select * into t from tasks where id = p_task;
    for s in select e.value from jsonb_array_elements(p_steps) with ordinality e (value, i) order by e.i loop
        select coalesce(array_agg(e::integer order by e::integer), '{}') into v_needs
          from jsonb_array_elements_text(s -> 'needs') e;
        open_ := 0;
        broken := 0;
        if v_needs <> '{}' then
            select count(*) filter (where x.outcome is null),
                   count(*) filter (where x.outcome <> 'ok' and s ->> 'after' = 'success')
              into open_, broken from steps x where x.task_id = p_task and x.n = any (v_needs);
        end if;
        insert into steps (task_id, n, kind, skill, title, args, origins, needs, unmet, run_after, status, effect_class,
                           lane, priority, ready_at, timeout_s, max_attempts, within_s)
        values (p_task, (s ->> 'n')::integer, s ->> 'kind', s ->> 'skill', s ->> 'title', s -> 'args', s -> 'origins',
                v_needs, open_, s ->> 'after', case when open_ + broken > 0 then 'blocked' else 'ready' end,
                s ->> 'effect_class', t.lane, t.priority,
                case when open_ + broken > 0 then null when t.status = 'paused' then 'infinity' else sayso_now() end,
                (s ->> 'timeout_s')::real, (s ->> 'max_attempts')::smallint, (s ->> 'within_s')::real);
        if v_needs <> '{}' then
            update steps set dependents = dependents || (s ->> 'n')::integer,
                   handled = handled or s ->> 'after' = 'settled'
             where task_id = p_task and n = any (v_needs);
        end if;
        if broken > 0 and open_ = 0 then
            update steps set status = 'skipped', outcome = 'upstream', finished_at = sayso_now(),
                   error = 'a step it needs did not succeed'
             where task_id = p_task and n = (s ->> 'n')::integer;
        end if;
        made := made + 1;
    end loop;
    return made;
end $$;

create function create_task_v1(
    p_inbound bigint, p_conversation bigint, p_requester bigint, p_goal text, p_kind text, p_steps jsonb,
    p_lane text, p_priority smallint, p_idempotency_key text, p_parent bigint, p_actor text
) returns bigint language plpgsql as $$
declare
    made bigint;
begin
    perform act_as(p_actor, p_goal);
    -- Nobody sees it before its steps are there, so it begins as what settle would make of it.
    insert into tasks (inbound_id, conversation_id, requester_id, goal, kind, status, lane, priority, idempotency_key, parent_id)
    values (p_inbound, p_conversation, p_requester, p_goal, p_kind,
            case when p_steps @? '$[*] ? (@.kind == "plan" && @.needs.size() == 0)' then 'planning'
                 when p_steps <> '[]' then 'running' else 'queued' end, p_lane, p_priority, p_idempotency_key, p_parent)
    on conflict (requester_id, idempotency_key) where idempotency_key is not null do nothing returning id into made;
    if made is null then
        return null;
    end if;
    perform insert_steps(made, p_steps);
    if p_inbound is not null then
        update inbound set task_id = made where id = p_inbound;
    end if;
    if p_conversation is not null then
        perform place_card('task', made, null, p_conversation);
    end if;
    if p_steps = '[]' then
        perform settle_quietly(made);       -- its card is to be shown already
    end if;
    return made;
end $$;

-- ---------------------------------------------------------------- claim

-- What a worker is told of steps that it now holds: the step, its task, and all that policy looks at, of one moment. A pure
-- step then needs no other query before its outcome.
create function claimed_rows(p_tasks bigint[], p_ns integer[]) returns setof claimed_step language plpgsql stable as $$
declare
    v_now timestamptz := sayso_now();
begin
    return query
    select s.task_id, s.n, s.kind, s.skill, s.args, s.origins, s.effect_class, s.needs, s.fence, s.attempt, s.max_attempts,
           s.gen, s.timeout_s, s.approval_id, s.effect_state, t.goal, t.plan_version, t.requester_id, t.conversation_id, s.lane,
           p.key, p.name, p.roles, p.is_service, p.is_active, coalesce(c.channel, ''), coalesce(c.external_id, ''),
           array(select i.body from inbound i where (i.id = t.inbound_id or i.task_id = t.id)
                    and i.principal_id = t.requester_id and i.kind = 'message' order by i.id),
           (select jsonb_agg(jsonb_build_object('id', g.id, 'skill', g.skill, 'skill_version', g.skill_version,
                   'schema_hash', g.schema_hash, 'args', g.args, 'principal_key', p.key, 'owner_key', o.key,
                   'owner_roles', to_jsonb(o.roles), 'task_id', g.task_id::text, 'uses_left', g.uses_left, 'expires_at', g.expires_at))
              from grants g join principals o on o.id = g.owner_id and o.is_active
             where g.holder_id = p.id and g.skill = s.skill and (g.task_id is null or g.task_id = t.id)
               and g.revoked_at is null and g.expires_at > v_now and coalesce(g.uses_left, 1) > 0),
           (select jsonb_build_object('id', a.id, 'kind', a.kind, 'status', a.status, 'items', a.items, 'approvers', a.approvers, 'card', a.card, 'ladder', a.ladder,
                   'is_expired', a.expires_at <= v_now, 'decided_ago_s', extract(epoch from v_now - a.decided_at))
              from approvals a where a.id = s.approval_id),
           -- Others whose rights count too: who changed the call, and who told the task what to do.
           case when s.editors <> '{}' or t.steered_by <> '{}' then (
               select jsonb_agg(jsonb_build_object('id', e.id, 'key', e.key, 'name', e.name, 'is_service', e.is_service,
                      'roles', case when e.is_active then to_jsonb(e.roles) else '[]' end))
                 from principals e where e.id = any (s.editors || t.steered_by) and e.id not in (p.id, q.id)) end,
           v_now, case when isfinite(s.ready_at) then extract(epoch from v_now - s.ready_at)::float8 end
      from unnest(p_tasks, p_ns) with ordinality k (task_id, n, i) join steps s on s.task_id = k.task_id and s.n = k.n
      join tasks t on t.id = s.task_id join principals q on q.id = t.requester_id
      join principals p on p.id = coalesce(q.same_as, q.id)     -- the human, whose roles count, whichever account asked
      left join conversations c on c.id = t.conversation_id order by k.i;
end $$;

-- Ready steps of the lanes, the more urgent lane first, at most `p_rooms[i]` of the i-th and `p_rooms[1]` in all.
create function claim_v1(p_worker bigint, p_lanes text[], p_rooms integer[]) returns setof claimed_step
language plpgsql as $$
begin
    if not is_alive(p_worker) then return; end if;
    return query select * from claim_ready(p_worker, p_lanes, p_rooms, '{}', '{}');
end $$;

-- Beside the steps that the caller has claimed already.
create function claim_ready(p_worker bigint, p_lanes text[], p_rooms integer[], p_tasks bigint[], p_ns integer[])
returns setof claimed_step language plpgsql as $$
declare
    v_now   timestamptz := sayso_now();
    v_room  integer;
    v_tasks bigint[];
    v_ns    integer[];
begin
    perform act_as('worker:' || p_worker, 'claim');
    for i in 1 .. cardinality(p_lanes) loop
        v_room := least(p_rooms[i], p_rooms[1] - cardinality(p_tasks));
        continue when v_room <= 0;
        -- Looked for first: an update of nothing would still have its triggers run, each second in an idle house.
        select array_agg(r.task_id), array_agg(r.n) into v_tasks, v_ns from (
            select s.task_id, s.n from steps s
             where s.status = 'ready' and s.lane = p_lanes[i] and s.ready_at <= v_now
             order by s.priority, s.ready_at limit v_room for update skip locked) r;
        continue when v_tasks is null;
        update steps s set status = 'running', worker_id = p_worker, fence = s.fence + 1, attempt = s.attempt + 1,
               deadline_at = now() + make_interval(secs => s.timeout_s), waits_for = null
          from unnest(v_tasks, v_ns) r (task_id, n) where s.task_id = r.task_id and s.n = r.n;
        p_tasks := p_tasks || v_tasks;
        p_ns := p_ns || v_ns;
    end loop;
    if cardinality(p_tasks) > 0 then
        return query select * from claimed_rows(p_tasks, p_ns);
    end if;
end $$;

-- What is running here according to the database; the heartbeat's answer.
create function heartbeat_v1(p_worker bigint, p_ttl_s real)
returns table (task_id bigint, n integer, fence bigint, cancel_asked boolean) language plpgsql as $$
begin
    update workers set lease_until = now() + make_interval(secs => p_ttl_s) where id = p_worker and lease_until > now();
    if not found then
        raise exception 'the lease of worker % is lost', p_worker using errcode = 'SY002';
    end if;
    return query select s.task_id, s.n, s.fence, s.cancel_asked from steps s
                  where s.worker_id = p_worker and s.status = 'running';
end $$;

-- A claim whose reply was lost, adopted: the same row as claim would have answered.
create function adopt_v1(p_worker bigint, p_task bigint, p_n integer, p_fence bigint) returns setof claimed_step
language plpgsql as $$
begin
    perform 1 from steps where task_id = p_task and n = p_n and fence = p_fence and worker_id = p_worker and status = 'running';
    if found then
        return query select * from claimed_rows(array[p_task], array[p_n]);
    end if;
end $$;

-- ---------------------------------------------------------------- begin

-- The one human behind a principal, however many identities and principals turned out to be theirs.
create function person_of(p_principal bigint) returns bigint language plpgsql stable as $$
begin
    return (select coalesce(p.same_as, p.id) from principals p where p.id = p_principal);
end $$;

-- Who never decides this, whatever their roles: services, and with four eyes who asked for it or edited it.
create function is_barred(p_person bigint, p_approvers jsonb, p_requester bigint) returns boolean language plpgsql stable as $$
begin
    return not exists (
        select from principals p where p.id = p_person and p.is_active and not p.is_service and p.same_as is null)
        or (coalesce(p_approvers -> 'four_eyes' = 'true', false)
            and (p_person = person_of(p_requester)
                 or exists (select from principals e where p_approvers -> 'editors' ? e.key and coalesce(e.same_as, e.id) = p_person)));
end $$;

create function is_eligible(p_principal bigint, p_approvers jsonb, p_requester bigint) returns boolean
language plpgsql stable as $$
declare
    me  bigint := person_of(p_principal);
begin
    if not approvers_readable(p_approvers) then return false; end if;
    return exists (
        select from principals p
         where p.id = me
           and (coalesce(p_approvers -> 'people', '[]') ? p.key
                or p.roles && array(select jsonb_array_elements_text(coalesce(p_approvers -> 'roles', '[]')))
                or coalesce(p_approvers -> 'slack_usergroups', '[]') <> '[]'
                   and in_slack_groups(me, p_approvers -> 'slack_usergroups')))
       and not is_barred(me, p_approvers, p_requester);
end $$;

create function yes_verdicts() returns text[] language plpgsql immutable as $$
begin
    return array['approve', 'approve_similar', 'grant', 'answer'];
end $$;

-- How many people and how many seats have said so and still may: the smaller number counts.
create function votes_for(p_approval approvals, p_verdicts text[]) returns integer language plpgsql stable as $$
begin
    return (select least(count(distinct person_of(d.principal_id)), count(distinct person_of(coalesce(d.seat_id, d.principal_id))))
              from decisions d
             where d.approval_id = p_approval.id and d.verdict = any (p_verdicts)
               and not is_barred(person_of(d.principal_id), p_approval.approvers, p_approval.requester_id)
               and is_eligible(coalesce(d.seat_id, d.principal_id), p_approval.approvers, p_approval.requester_id));
end $$;

-- The last database act before a call that touches the world. Answers 'go', or why not:
-- stale | cancelled | paused | requester | done | not_approved | expired | drift | approver | grant.
create function begin_v1(
    p_worker bigint, p_task bigint, p_n integer, p_fence bigint, p_key text, p_digest text, p_action jsonb,
    p_approval uuid, p_grant uuid
) returns text language plpgsql as $$
declare
    t   tasks;
    s   steps;
    a   approvals;
    e   effects;
begin
    perform act_as('worker:' || p_worker, 'begin');
    select * into t from tasks where id = p_task for update;
    select * into s from steps where task_id = p_task and n = p_n for update;
    if s.status is distinct from 'running' or s.fence <> p_fence or s.worker_id <> p_worker or not is_alive(p_worker) then
        return 'stale';
    end if;
    if s.cancel_asked or t.status in ('cancelling', 'cancelled') then return 'cancelled'; end if;
    if t.status = 'paused' then return 'paused'; end if;
    if not exists (select from principals p where p.id = person_of(t.requester_id) and p.is_active) then return 'requester'; end if;
    if p_approval is not null then
        select * into a from approvals where id = p_approval and task_id = p_task for update;
    end if;
    select * into e from effects where task_id = p_task and n = p_n and gen = s.gen for update;
    if e.state = 'done' then return 'done'; end if;
    if p_approval is not null then
        if a.id is null then return 'not_approved'; end if;
        if not a.items @> jsonb_build_array(jsonb_build_object('task', p_task::text, 'step', p_n, 'digest', p_digest)) then
            return 'drift';
        end if;
        if a.status = 'approved' then
            if a.expires_at <= sayso_now() then
                update approvals set status = 'expired' where id = a.id;
                return 'expired';
            end if;
            if not approvers_readable(a.approvers)
               or votes_for(a, yes_verdicts() || array['not_happened']) < (a.approvers ->> 'needed')::integer then
                return 'approver';
            end if;
            if exists (select from effects x where x.approval_id = a.id and x.task_id = p_task and x.n = p_n and x.gen <> s.gen) then
                return 'not_approved';      -- one yes, one time: another generation of this item has used it
            end if;
            -- Of several items on one card the last one uses it up.
            if not exists (
                select from jsonb_array_elements(a.items) i where i ->> 'task' = p_task::text and (i ->> 'step')::integer <> p_n
                   and not exists (select from effects x where x.approval_id = a.id and x.task_id = p_task and x.n = (i ->> 'step')::integer)) then
                update approvals set status = 'consumed' where id = a.id;
            end if;
        elsif a.status <> 'consumed' or e.approval_id is distinct from a.id or e.digest <> p_digest then
            return 'not_approved';      -- only the same generation of the same action may go on under a consumed approval
        end if;
    end if;
    if p_grant is not null then
        update grants g set uses = uses + 1, uses_left = uses_left - 1, version = version + 1
         where g.id = p_grant and grant_covers(g, p_task, t.requester_id, p_action);
        if not found then return 'grant'; end if;
    end if;
    if e.task_id is null then
        insert into effects (task_id, n, gen, key, fence, digest, action, approval_id, grant_id, state)
        values (p_task, p_n, s.gen, p_key, p_fence, p_digest, p_action, p_approval, p_grant, 'intent');
    else
        update effects set state = 'intent', fence = p_fence, digest = p_digest, action = p_action, grant_id = p_grant, begun_at = now()
         where task_id = p_task and n = p_n and gen = s.gen;
    end if;
    update steps set effect_state = 'intent', deadline_at = now() + make_interval(secs => timeout_s)
     where task_id = p_task and n = p_n;
    insert into audit (kind, actor, task_id, approval_id, data)
    values ('execution', 'worker:' || p_worker, p_task, p_approval,
            jsonb_build_object('step', p_n, 'key', p_key, 'digest', p_digest, 'skill', s.skill));
    perform touch_cards(p_task);
    return 'go';
end $$;

-- ---------------------------------------------------------------- complete

-- Whether urgent work waits for a slot: a chain of another lane then gives its own up at the step's end.
create function urgent_waits(p_now timestamptz) returns boolean language plpgsql stable as $$
begin
    return exists (select from steps where status = 'ready' and lane = 'urgent' and ready_at <= p_now);
end $$;

-- The dependents of a step that has just ended: ready, skipped with it, or one need fewer.
create function free_dependents(p_task bigint, p_n integer, p_dependents integer[], p_ok boolean, p_paused boolean) returns integer
language plpgsql as $$
declare
    v_n     integer;
    d       steps;
    freed   integer := 0;
begin
    foreach v_n in array p_dependents loop
        -- Read anew each time: what was skipped just now may have freed it already.
        select * into d from steps where task_id = p_task and n = v_n for update;
        if d.status <> 'blocked' then continue; end if;
        if not p_ok and d.run_after = 'success' then
            update steps set status = 'skipped', outcome = 'upstream', finished_at = sayso_now(),
                   error = 'step ' || p_n || ' did not succeed' where task_id = p_task and n = d.n;
            freed := freed + free_dependents(p_task, d.n, d.dependents, false, p_paused);
        elsif d.unmet > 1 then
            update steps set unmet = d.unmet - 1 where task_id = p_task and n = d.n;
        else
            update steps set unmet = 0, status = 'ready',
                   ready_at = case when p_paused then 'infinity' else sayso_now() end where task_id = p_task and n = d.n;
            freed := freed + 1;
        end if;
    end loop;
    return freed;
end $$;

-- A running step back to ready; in a task that is being stopped it ends instead. `p_charged`: the attempt counts.
create function back_to_ready(p_task bigint, p_n integer, p_task_status text, p_after_s real, p_charged boolean, p_error text)
returns text language plpgsql as $$
begin
    if p_task_status = 'cancelling' then
        update steps set status = 'cancelled', outcome = 'cancelled', worker_id = null, deadline_at = null,
               error = coalesce(p_error, error), finished_at = sayso_now() where task_id = p_task and n = p_n;
        return 'cancelled';
    end if;
    update steps set status = 'ready', worker_id = null, deadline_at = null, error = p_error,
           attempt = case when p_charged then attempt else greatest(attempt - 1, 0) end,
           ready_at = case when p_task_status = 'paused' then 'infinity'
                           else sayso_now() + make_interval(secs => p_after_s) end
     where task_id = p_task and n = p_n;
    return 'ready';
end $$;

-- Outcome, planned steps, dependents, next claim: one commit. `ok` false means the fence was lost and nothing was written.
create function complete_v1(
    p_worker bigint, p_task bigint, p_n integer, p_fence bigint, p_result jsonb, p_added jsonb, p_claim boolean,
    out ok boolean, out freed integer, out next claimed_step
) language plpgsql as $$
declare
    t       tasks;
    me      steps;
    d       steps;
begin
    ok := false;
    freed := 0;
    perform act_as('worker:' || p_worker, 'complete');
    select * into t from tasks where id = p_task for update;
    update steps set status = 'succeeded', outcome = 'ok', result = p_result, error = null, worker_id = null,
           deadline_at = null, finished_at = sayso_now(),
           effect_state = case when effect_state is null then null else 'done' end
     where task_id = p_task and n = p_n and fence = p_fence and status = 'running' and worker_id = p_worker
    returning * into me;
    if not found then return; end if;
    ok := true;
    if me.effect_state is not null then
        update effects set state = 'done', evidence = p_result, resolved_at = now()
         where task_id = p_task and n = p_n and gen = me.gen and state = 'intent';
    end if;
    if p_added is not null and t.status <> 'cancelling' then
        freed := freed + insert_steps(p_task, p_added);
        update tasks set plan_version = plan_version + 1 where id = p_task;
    end if;
    for d in select * from steps where task_id = p_task and n = any (me.dependents) order by n for update loop
        if d.status <> 'blocked' then continue; end if;
        if d.unmet > 1 then
            update steps set unmet = d.unmet - 1 where task_id = p_task and n = d.n;
        elsif p_claim and next is null and t.status in ('planning', 'running') and d.lane = me.lane and is_alive(p_worker)
              and not exists (select from steps u where u.status = 'ready' and u.lane = me.lane
                                 and u.priority < d.priority and u.ready_at <= sayso_now())
              and (me.lane = 'urgent' or not urgent_waits(sayso_now())) then
            update steps s set unmet = 0, status = 'running', worker_id = p_worker, fence = s.fence + 1,
                   attempt = s.attempt + 1, deadline_at = now() + make_interval(secs => s.timeout_s)
             where s.task_id = p_task and s.n = d.n;
            select * into next from claimed_rows(array[p_task], array[d.n]);
        else
            update steps set unmet = 0, status = 'ready',
                   ready_at = case when t.status = 'paused' then 'infinity' else sayso_now() end
             where task_id = p_task and n = d.n;
            freed := freed + 1;
        end if;
    end loop;
    perform settle(p_task);
    if me.skill like '%.undo' and me.args ->> 'task' ~ '^\d{1,18}$' then
        perform touch_cards((me.args ->> 'task')::bigint);     -- the undone task no longer offers it
    end if;
end $$;

-- Many pure steps that succeeded, the dependents that this frees, what becomes of their tasks, and (when `p_more`) further
-- ready steps for the free slots: one commit. Tasks that somebody else has locked are left out: `left_out` names those that
-- the caller has to complete one by one. `freed`: something became ready that this worker did not take.
create function complete_many_v1(
    p_worker bigint, p_tasks bigint[], p_ns integer[], p_fences bigint[], p_results jsonb[],
    p_lanes text[], p_rooms integer[], p_more boolean,
    out left_out bigint[], out freed boolean, out claimed claimed_step[]
) language plpgsql as $$
declare
    v_now       timestamptz := sayso_now();
    v_alive     boolean := is_alive(p_worker);
    v_urgent    boolean := urgent_waits(v_now);
    v_locked    bigint[];
    v_done      bigint[];       -- tasks of which a step is done now
    v_dep_tasks bigint[];       -- what waited for these steps, as pairs
    v_deps      integer[];
    v_going     bigint[] := '{}';   -- tasks that simply go on
    v_tasks     bigint[] := '{}';   -- claimed here, as pairs
    v_ns        integer[] := '{}';
    v_ended     bigint[];
begin
    perform act_as('worker:' || p_worker, 'complete');
    freed := false;
    select array_agg(l.id) into v_locked
      from (select t.id from tasks t where t.id = any (p_tasks) order by t.id for update skip locked) l;
    left_out := array(select distinct x from unnest(p_tasks) x where not x = any (coalesce(v_locked, '{}')));
    with done as (
        update steps s set status = 'succeeded', outcome = 'ok', result = d.result, error = null, worker_id = null,
               deadline_at = null, finished_at = v_now
          from unnest(p_tasks, p_ns, p_fences, p_results) d (task_id, n, fence, result)
         where s.task_id = d.task_id and s.n = d.n and s.fence = d.fence and s.status = 'running' and s.worker_id = p_worker
           and s.effect_state is null and s.task_id = any (v_locked)
        returning s.task_id, s.dependents),
    waiting as (select d.task_id, w.n from done d cross join unnest(d.dependents) w (n))
    select (select array_agg(distinct d.task_id) from done d), array_agg(w.task_id), array_agg(w.n)
      into v_done, v_dep_tasks, v_deps from waiting w;
    if v_deps is not null then
        with fewer as (select k.task_id, k.n, count(*)::integer as by from unnest(v_dep_tasks, v_deps) k (task_id, n) group by 1, 2),
        freeing as (
            select b.task_id, b.n, b.kind, b.unmet - f.by as unmet, t.status as task_status,
                   v_alive and t.status in ('planning', 'running')
                   and row_number() over (order by b.unmet > f.by, b.priority, b.task_id, b.n)
                       <= p_rooms[array_position(p_lanes, b.lane)]
                   and not exists (select from steps u where u.status = 'ready' and u.lane = b.lane
                                      and u.priority < b.priority and u.ready_at <= v_now)
                   and (b.lane = 'urgent' or not v_urgent) as mine
              from fewer f join steps b on b.task_id = f.task_id and b.n = f.n and b.status = 'blocked'
              join tasks t on t.id = b.task_id),
        moved as (
            update steps s set unmet = f.unmet,
                   status = case when f.unmet > 0 then 'blocked' when f.mine then 'running' else 'ready' end,
                   ready_at = case when f.unmet > 0 or f.mine then s.ready_at when f.task_status = 'paused' then 'infinity' else v_now end,
                   worker_id = case when f.unmet = 0 and f.mine then p_worker end,
                   fence = s.fence + case when f.unmet = 0 and f.mine then 1 else 0 end,
                   attempt = s.attempt + case when f.unmet = 0 and f.mine then 1 else 0 end,
                   deadline_at = case when f.unmet = 0 and f.mine then now() + make_interval(secs => s.timeout_s) end
              from freeing f where s.task_id = f.task_id and s.n = f.n
            returning s.task_id, s.n, s.status, s.kind, f.task_status)
        select coalesce(array_agg(m.task_id) filter (where m.status = 'running'), '{}'),
               coalesce(array_agg(m.n) filter (where m.status = 'running'), '{}'),
               coalesce(bool_or(m.status = 'ready'), false),
               -- A running task with a further step to run stays what it is, unless that step plans.
               array(select g.task_id from moved g where g.task_status = 'running' and g.status <> 'blocked'
                      group by g.task_id having bool_and(g.kind <> 'plan'))
          into v_tasks, v_ns, freed, v_going from moved m;
    end if;
    -- Most tasks that do not go on have succeeded, all at once; what became of the others is found out one by one.
    with over as (
        select s.task_id from steps s where s.task_id = any (v_done) and not s.task_id = any (v_going) group by s.task_id
        having bool_and(s.outcome is not null) and not bool_or(not s.handled and s.outcome in
               ('error', 'refused', 'denied', 'expired', 'undeliverable', 'given_up'))),
    ended as (
        update tasks t set status = 'succeeded', finished_at = v_now, result = (
                   select s.result from steps s
                    where s.task_id = t.id and s.status = 'succeeded' and s.dependents = '{}' order by s.n desc limit 1)
          from over o where t.id = o.task_id and t.status = 'running' returning t.id, t.kind)
    select coalesce(array_agg(e.id), '{}') into v_ended from ended e;
    perform end_yes(array_agg(a.id), 'the task has ended') from approvals a
     where a.task_id = any (v_ended) and a.status = 'approved' having count(*) > 0;
    perform say_answers(v_ended) where exists (select from tasks t where t.id = any (v_ended) and t.kind = 'plan');
    perform settle_quietly(x) from unnest(v_done) x where not x = any (v_going) and not x = any (v_ended);
    perform touch_all_cards(v_done);
    if p_more and v_alive then
        claimed := array(select c from claim_ready(p_worker, p_lanes, p_rooms, v_tasks, v_ns) c);
    elsif cardinality(v_tasks) > 0 then
        claimed := array(select c from claimed_rows(v_tasks, v_ns) c);
    end if;
end $$;

-- Known not to have happened (or pure): again after `p_retry_s`, or failed for good.
create function fail_v1(
    p_worker bigint, p_task bigint, p_n integer, p_fence bigint, p_error text, p_outcome text, p_retry_s real, p_added jsonb
) returns boolean language plpgsql as $$
declare
    t   tasks;
    me  steps;
begin
    perform act_as('worker:' || p_worker, p_error);
    select * into t from tasks where id = p_task for update;
    select * into me from steps where task_id = p_task and n = p_n and fence = p_fence and status = 'running'
       and worker_id = p_worker for update;
    if not found then return false; end if;
    update effects set state = 'not_done', evidence = to_jsonb(p_error), resolved_at = now()
     where task_id = p_task and n = p_n and gen = me.gen and state = 'intent';
    if p_retry_s is not null and me.attempt < me.max_attempts then
        update steps set effect_state = case when effect_state is null then null else 'not_done' end
         where task_id = p_task and n = p_n;
        perform back_to_ready(p_task, p_n, t.status, p_retry_s, true, p_error);
    else
        update steps set status = case when p_outcome = 'cancelled' then 'cancelled' else 'failed' end, outcome = p_outcome,
               worker_id = null, deadline_at = null, error = p_error, finished_at = sayso_now(),
               effect_state = case when effect_state is null then null else 'not_done' end
         where task_id = p_task and n = p_n;
        if p_added is not null and t.status <> 'cancelling' then
            perform insert_steps(p_task, p_added);
        end if;
        perform free_dependents(p_task, p_n, (select dependents from steps where task_id = p_task and n = p_n), false,
                                t.status = 'paused');
    end if;
    perform settle(p_task);
    return true;
end $$;

-- Given back untouched; the attempt is not charged.
create function release_v1(p_worker bigint, p_task bigint, p_n integer, p_fence bigint, p_why text, p_ready_s real)
returns boolean language plpgsql as $$
declare
    t   tasks;
begin
    perform act_as('worker:' || p_worker, p_why);
    select * into t from tasks where id = p_task for update;
    perform 1 from steps where task_id = p_task and n = p_n and fence = p_fence and status = 'running' and worker_id = p_worker
        for update;
    if not found then return false; end if;
    perform back_to_ready(p_task, p_n, t.status, p_ready_s, false, null);
    perform settle(p_task);
    return true;
end $$;

create function wake_v1(p_task bigint, p_n integer) returns boolean language plpgsql as $$
declare
    t   tasks;
begin
    perform act_as('sweeper', 'its time has come');
    select * into t from tasks where id = p_task for update;
    update steps set status = 'ready', ready_at = case when t.status = 'paused' then 'infinity' else sayso_now() end
     where task_id = p_task and n = p_n and status = 'waiting' and ready_at <= sayso_now();
    if not found then return false; end if;
    perform settle(p_task);
    return true;
end $$;

-- Given arrays, the server would plan each of their statements anew for every call, and those of the others for the first five.
alter function complete_many_v1 set plan_cache_mode = 'force_generic_plan';
alter function claim_v1 set plan_cache_mode = 'force_generic_plan';
alter function begin_v1 set plan_cache_mode = 'force_generic_plan';
alter function complete_v1 set plan_cache_mode = 'force_generic_plan';
