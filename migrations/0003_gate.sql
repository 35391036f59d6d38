-- The gate's moves: a risky step waits for a decision, a lost one for a probe or a person.
--
-- A decision is one commit: who may, which card, still pending, one vote a person, the step ready, the cards stale. All
-- compare-and-set on the pending row: of many simultaneous presses one decides and the others are told who did.

-- ---------------------------------------------------------------- park

-- `p_ask` = {kind, items, digest, action_hash, card, approvers, ladder, expires_in_s}; `p_places` are the conversations whose
-- card is written now. An older approval of the step is superseded. Answers the approval's id, null when the fence is
-- lost or the task is being stopped, which ends the step.
create function park_v1(p_worker bigint, p_task bigint, p_n integer, p_fence bigint, p_ask jsonb, p_places bigint[], p_why text)
returns uuid language plpgsql as $$
declare
    t       tasks;
    s       steps;
    made    uuid;
    place   bigint;
begin
    perform act_as('worker:' || p_worker, p_why);
    select * into t from tasks where id = p_task for update;
    select * into s from steps where task_id = p_task and n = p_n and fence = p_fence and status = 'running'
       and worker_id = p_worker for update;
    if not found then return null; end if;
    if t.status = 'cancelling' then     -- nobody is asked about what is being stopped
        perform back_to_ready(p_task, p_n, t.status, 0, false, null);
        perform settle(p_task);
        return null;
    end if;
    update approvals set status = 'superseded' where task_id = p_task and n = p_n and status in ('pending', 'approved');
    insert into approvals (kind, task_id, n, gen, items, digest, action_hash, card, approvers, requester_id, ladder, status, expires_at)
    values (p_ask ->> 'kind', p_task, p_n, s.gen, p_ask -> 'items', p_ask ->> 'digest', p_ask ->> 'action_hash', p_ask -> 'card',
            p_ask -> 'approvers', t.requester_id, p_ask ->> 'ladder', 'pending',
            sayso_now() + make_interval(secs => (p_ask ->> 'expires_in_s')::real))
    returning id into made;
    update steps set status = 'awaiting_approval', worker_id = null, deadline_at = null, approval_id = made,
           attempt = greatest(attempt - 1, 0), waits_for = 'approval'
     where task_id = p_task and n = p_n;
    foreach place in array p_places loop
        perform place_card('approval', p_task, made, place);
    end loop;
    insert into audit (kind, actor, task_id, approval_id, data)
    values ('request', 'worker:' || p_worker, p_task, made,
            jsonb_build_object('step', p_n, 'digest', p_ask ->> 'digest', 'reasons', p_ask -> 'card' -> 'reasons'));
    perform settle(p_task);
    return made;
end $$;

-- ---------------------------------------------------------------- what follows a decision

-- The step of an approval that ended without a yes.
create function end_parked_step(p_task bigint, p_n integer, p_status text, p_outcome text, p_error text, p_paused boolean)
returns void language plpgsql as $$
declare
    me  steps;
begin
    update steps set status = p_status, outcome = p_outcome, error = p_error, finished_at = sayso_now(), waits_for = null
     where task_id = p_task and n = p_n and status in ('awaiting_approval', 'unknown') returning * into me;
    if found then
        perform free_dependents(p_task, p_n, me.dependents, false, p_paused);
    end if;
end $$;

create function expire_v1(p_approval uuid) returns boolean language plpgsql as $$
declare
    v_task  bigint;
    a       approvals;
    t       tasks;
begin
    select task_id into v_task from approvals where id = p_approval;
    select * into t from tasks where id = v_task for update;
    select * into a from approvals where id = p_approval for update;
    if a.status is distinct from 'pending' or a.expires_at > sayso_now() or a.kind = 'unknown' then return false; end if;
    perform act_as('sweeper', 'nobody answered in time');
    update approvals set status = 'expired' where id = p_approval;
    perform end_parked_step(a.task_id, a.n, 'skipped', 'expired', 'Nobody answered the approval in time.', t.status = 'paused');
    perform settle(a.task_id);
    return true;
end $$;

-- What an unknown turned out to be. `p_happened` by a probe or a person; with `p_approval` (a person said "it did not, run
-- again") the next generation goes on under that approval.
create function resolve_step(p_task bigint, p_n integer, p_happened boolean, p_evidence jsonb, p_approval uuid, p_paused boolean)
returns void language plpgsql as $$
declare
    me  steps;
begin
    select * into me from steps where task_id = p_task and n = p_n for update;
    update effects set state = case when p_happened then 'done' else 'not_done' end, evidence = p_evidence, resolved_at = now()
     where task_id = p_task and n = p_n and gen = me.gen and state = 'unknown';
    if p_happened then
        update steps set status = 'succeeded', outcome = 'ok', effect_state = 'done', error = null, waits_for = null,
               result = coalesce(p_evidence -> 'result', p_evidence), finished_at = sayso_now()
         where task_id = p_task and n = p_n;
        perform free_dependents(p_task, p_n, me.dependents, true, p_paused);
    else
        update steps set status = 'ready', gen = gen + 1, effect_state = null, waits_for = null, approval_id = p_approval,
               ready_at = case when p_paused then 'infinity' else sayso_now() end
         where task_id = p_task and n = p_n;
    end if;
end $$;

create function cancel_v1(p_task bigint, p_actor text, p_why text) returns text language plpgsql as $$
declare
    t   tasks;
    s   steps;
begin
    perform act_as(p_actor, p_why);
    select * into t from tasks where id = p_task for update;
    if t.status in ('succeeded', 'failed', 'abandoned', 'cancelled') then return t.status; end if;
    if t.status <> 'cancelling' then
        update tasks set status = 'cancelling' where id = p_task;
    end if;
    for s in select * from steps where task_id = p_task and outcome is null order by n for update loop
        if s.status = 'running' then
            update steps set cancel_asked = true where task_id = p_task and n = s.n;
        elsif s.status <> 'unknown' then
            update steps set status = 'cancelled', outcome = 'cancelled', error = p_why, finished_at = sayso_now()
             where task_id = p_task and n = s.n;
        end if;
    end loop;
    update approvals set status = 'cancelled', reason = p_why
     where task_id = p_task and (status = 'approved' or status = 'pending' and kind <> 'unknown');
    insert into audit (kind, actor, task_id, data) values ('cancel', p_actor, p_task, jsonb_build_object('why', p_why));
    return settle(p_task);
end $$;

-- ---------------------------------------------------------------- decide

-- Answers {kind: accepted | already | not_allowed | too_late | changed | not_found | duplicate, status, task_id, by, at, …}.
create function decide_v1(
    p_principal bigint, p_approval uuid, p_verdict text, p_digest text, p_reason text, p_channel text, p_delivery text
) returns jsonb language plpgsql as $$
declare
    v_task  bigint;
    v_actor text;
    t       tasks;
    a       approvals;
    after   text;
    needed  integer;
    known   text[] := array['approve', 'deny', 'stop', 'happened', 'not_happened', 'abandon'];
    answers text[];
begin
    select task_id into v_task from approvals where id = p_approval;
    select 'person:' || key into v_actor from principals where id = p_principal;
    if v_task is null or v_actor is null then return jsonb_build_object('kind', 'not_found'); end if;
    insert into inbound (channel, delivery_id, kind, principal_id, body, task_id)
    values (p_channel, p_delivery, 'press', p_principal, p_verdict, v_task) on conflict do nothing;
    if not found then
        return jsonb_build_object('kind', 'duplicate') || approval_state(p_approval);
    end if;
    perform act_as(v_actor, p_verdict || case when p_reason <> '' then ': ' || p_reason else '' end);
    select * into t from tasks where id = v_task for update;
    perform 1 from steps where task_id = v_task and n = (select n from approvals where id = p_approval) for update;
    select * into a from approvals where id = p_approval for update;
    answers := case when a.kind = 'unknown' then array['happened', 'not_happened', 'abandon', 'stop']
                    else array['approve', 'deny', 'stop'] end;
    if not p_verdict = any (known) or not p_verdict = any (answers) then
        return jsonb_build_object('kind', 'not_allowed', 'why', 'this is answered with ' || array_to_string(answers, ', '));
    end if;
    if not is_eligible(p_principal, a.approvers, a.requester_id)
       and not (p_verdict = 'stop' and p_principal = t.requester_id) then
        insert into audit (kind, actor, task_id, approval_id, data)
        values ('refused', v_actor, v_task, p_approval, jsonb_build_object('verdict', p_verdict, 'channel', p_channel));
        return jsonb_build_object('kind', 'not_allowed', 'why', 'you are not among those who may decide this',
                                  'approvers', a.approvers);
    end if;
    if a.status <> 'pending' then
        return jsonb_build_object('kind', 'already') || approval_state(p_approval);
    end if;
    if a.kind <> 'unknown' and a.expires_at <= sayso_now() then
        perform expire_v1(p_approval);
        return jsonb_build_object('kind', 'too_late', 'at', a.expires_at) || approval_state(p_approval);
    end if;
    if p_digest is not null and p_digest <> a.digest then
        return jsonb_build_object('kind', 'changed') || approval_state(p_approval);
    end if;
    if p_verdict <> 'stop' then
        insert into decisions (approval_id, principal_id, verdict, reason, channel, delivery_id)
        values (p_approval, p_principal, p_verdict, p_reason, p_channel, p_delivery)
        on conflict (approval_id, principal_id) where verdict in ('approve', 'deny', 'happened', 'not_happened', 'abandon')
        do update set verdict = excluded.verdict, reason = excluded.reason, channel = excluded.channel,
                      delivery_id = excluded.delivery_id, decided_at = sayso_now()
         where excluded.verdict in ('deny', 'abandon');
        if not found then       -- one vote per person: the first one stands, but a no replaces a yes
            return jsonb_build_object('kind', 'accepted') || approval_state(p_approval);
        end if;
    else
        insert into decisions (approval_id, principal_id, verdict, reason, channel, delivery_id)
        values (p_approval, p_principal, p_verdict, p_reason, p_channel, p_delivery);
    end if;
    insert into audit (kind, actor, task_id, approval_id, data)
    values ('vote', v_actor, v_task, p_approval, jsonb_build_object(
            'verdict', p_verdict, 'reason', p_reason, 'channel', p_channel, 'digest', a.digest));

    if p_verdict = 'stop' and a.kind = 'unknown' then    -- the task waits for the answer, so the question stays
        perform cancel_v1(v_task, v_actor, case when p_reason <> '' then p_reason else 'stopped from the card' end);
        return jsonb_build_object('kind', 'accepted') || approval_state(p_approval);
    end if;

    needed := (a.approvers ->> 'needed')::integer;
    if p_verdict = 'stop' then
        after := 'cancelled';
    elsif p_verdict in ('deny', 'abandon') then
        after := case when p_verdict = 'abandon' or coalesce((a.approvers ->> 'veto')::boolean, true) then 'denied' else 'pending' end;
    elsif votes_for(a, array[p_verdict]) >= needed then
        after := 'approved';
    else
        after := 'pending';
    end if;

    if after = 'pending' then
        perform touch_cards(v_task);
    else
        update approvals set status = after, decided_by = p_principal, decided_at = sayso_now(), reason = p_reason
         where id = p_approval;
        if after = 'cancelled' then
            perform cancel_v1(v_task, v_actor, case when p_reason <> '' then p_reason else 'stopped from the card' end);
        elsif p_verdict = 'happened' then
            update approvals set status = 'consumed' where id = p_approval;
            perform resolve_step(v_task, a.n, true, jsonb_build_object('confirmed_by', v_actor,
                    'summary', 'A person says that it happened.'), null, t.status = 'paused');
        elsif p_verdict = 'not_happened' then
            if t.status = 'cancelling' then     -- nothing runs again in a task that is being stopped
                update effects e set state = 'not_done', resolved_at = now(), evidence = jsonb_build_object('said_by', v_actor)
                 where e.task_id = v_task and e.n = a.n and e.state = 'unknown';
                perform end_parked_step(v_task, a.n, 'cancelled', 'cancelled', 'It did not happen; the task was stopped.', false);
            else
                perform resolve_step(v_task, a.n, false, jsonb_build_object('said_by', v_actor), p_approval, t.status = 'paused');
            end if;
        elsif p_verdict = 'abandon' then
            perform end_parked_step(v_task, a.n, 'failed', 'given_up', 'Given up: it is not known whether it happened.',
                                    t.status = 'paused');
        elsif after = 'denied' then
            perform end_parked_step(v_task, a.n, 'skipped', 'denied',
                    'Denied' || case when p_reason <> '' then ': ' || p_reason else '.' end, t.status = 'paused');
        else
            update steps set status = 'ready', waits_for = null,
                   ready_at = case when t.status = 'paused' then 'infinity' else sayso_now() end
             where task_id = v_task and n = a.n and status = 'awaiting_approval' and approval_id = p_approval;
            if not found then
                raise exception 'approval % is pending but its step does not wait for it', p_approval;
            end if;
        end if;
        if after <> 'cancelled' then perform settle(v_task); end if;
    end if;
    return jsonb_build_object('kind', 'accepted') || approval_state(p_approval);
end $$;

create function approval_state(p_approval uuid) returns jsonb language plpgsql stable as $$
begin
    return (select jsonb_build_object(
                'approval_id', a.id, 'status', a.status, 'task_id', a.task_id, 'n', a.n, 'by', coalesce(p.name, ''),
                'decided_at', a.decided_at,
                'decisions', coalesce((
                    select jsonb_agg(jsonb_build_object('by', q.name, 'key', q.key, 'verdict', d.verdict, 'reason', d.reason,
                                                        'channel', d.channel, 'at', d.decided_at) order by d.id)
                      from decisions d join principals q on q.id = d.principal_id where d.approval_id = a.id), '[]'))
              from approvals a left join principals p on p.id = a.decided_by where a.id = p_approval);
end $$;

-- ---------------------------------------------------------------- unknown

-- The question to a person: it happened / it did not, run again / abandon. The same approvers as the action had.
create function ask_unknown(p_task bigint, p_n integer, p_error text) returns uuid language plpgsql as $$
declare
    t       tasks;
    s       steps;
    e       effects;
    old     approvals;
    made    uuid;
    place   bigint;
begin
    select * into t from tasks where id = p_task;
    select * into s from steps where task_id = p_task and n = p_n;
    select * into e from effects where task_id = p_task and n = p_n and gen = s.gen;
    select * into old from approvals where id = e.approval_id;
    insert into approvals (kind, task_id, n, gen, items, digest, card, approvers, requester_id, ladder, status, expires_at)
    values ('unknown', p_task, p_n, s.gen,
            jsonb_build_array(jsonb_build_object('task', p_task::text, 'step', p_n, 'digest', e.digest, 'action', e.action)),
            e.digest,
            jsonb_build_object('title', s.title, 'risk', coalesce(old.card ->> 'risk', 'high'), 'provenance', '[]'::jsonb,
                               'reasons', jsonb_build_array(p_error)),
            coalesce(case when approvers_readable(old.approvers) then old.approvers end, jsonb_build_object('people', jsonb_build_array(
                (select key from principals where id = t.requester_id)), 'roles', jsonb_build_array('owner'),
                'needed', 1, 'four_eyes', false, 'veto', true)),
            t.requester_id, coalesce(old.ladder, 'default'), 'pending', 'infinity')
    returning id into made;
    update steps set approval_id = made, waits_for = 'answer', ready_at = null where task_id = p_task and n = p_n;
    for place in select distinct c.conversation_id from cards c where c.task_id = p_task loop
        perform place_card('approval', p_task, made, place);
    end loop;
    insert into audit (kind, actor, task_id, approval_id, data)
    values ('unknown', setting('sayso.actor'), p_task, made, jsonb_build_object('step', p_n, 'why', p_error));
    return made;
end $$;

-- A running step whose call may or may not have reached the world. Idempotent ones run again under the same key; a checkable
-- one is probed after `p_quarantine_s`; for an unsafe one a person is asked at once. Answers the step's status.
create function lose_step(p_task bigint, p_n integer, p_error text, p_quarantine_s real, p_task_status text) returns text
language plpgsql as $$
declare
    s   steps;
begin
    select * into s from steps where task_id = p_task and n = p_n;
    if s.effect_state is distinct from 'intent' or s.effect_class in ('pure', 'idempotent') then
        if s.attempt >= s.max_attempts then
            update effects set state = 'unknown' where task_id = p_task and n = p_n and gen = s.gen and state = 'intent';
            update steps set status = 'failed', outcome = 'error', worker_id = null, deadline_at = null, finished_at = sayso_now(),
                   error = p_error || ' (attempt ' || s.attempt || ' of ' || s.max_attempts || ')'
             where task_id = p_task and n = p_n;
            perform free_dependents(p_task, p_n, s.dependents, false, p_task_status = 'paused');
            return 'failed';
        end if;
        return back_to_ready(p_task, p_n, p_task_status, 0, true, p_error);
    end if;
    update effects set state = 'unknown' where task_id = p_task and n = p_n and gen = s.gen;
    update steps set status = 'unknown', worker_id = null, deadline_at = null, effect_state = 'unknown', error = p_error,
           waits_for = 'probe', ready_at = sayso_now() + make_interval(secs => p_quarantine_s)
     where task_id = p_task and n = p_n;
    if s.effect_class = 'unsafe' then
        perform ask_unknown(p_task, p_n, p_error);
    end if;
    return 'unknown';
end $$;

create function lose_v1(p_worker bigint, p_task bigint, p_n integer, p_fence bigint, p_error text) returns text
language plpgsql as $$
declare
    t       tasks;
    became  text;
begin
    perform act_as('worker:' || p_worker, p_error);
    select * into t from tasks where id = p_task for update;
    perform 1 from steps where task_id = p_task and n = p_n and fence = p_fence and status = 'running' and worker_id = p_worker
        for update;
    if not found then return 'stale'; end if;
    became := lose_step(p_task, p_n, p_error, 0, t.status);
    perform settle(p_task);
    return became;
end $$;

-- Running steps of workers that are gone. `p_hinted` are workers whose connection vanished: pure and idempotent steps, and
-- those that have not begun, may move at once; effects wait for lease and timeout.
create function orphans_v1(p_hinted bigint[]) returns table (task_id bigint, n integer, fence bigint) language plpgsql as $$
begin
    return query
    select s.task_id, s.n, s.fence from steps s left join workers w on w.id = s.worker_id
     where s.status = 'running'
       and case when s.effect_state = 'intent' and s.effect_class in ('checkable', 'unsafe')
                then coalesce(w.lease_until, '-infinity') < now() and s.deadline_at < now()
                else coalesce(w.lease_until, '-infinity') < now() or s.worker_id = any (p_hinted) end
     order by s.task_id, s.n limit 500;
end $$;

create function recover_v1(p_task bigint, p_n integer, p_fence bigint, p_hinted bigint[]) returns text language plpgsql as $$
declare
    t       tasks;
    s       steps;
    in_flight boolean;
    became  text;
begin
    perform act_as('sweeper', 'its worker is gone');
    select * into t from tasks where id = p_task for update;
    select * into s from steps where task_id = p_task and n = p_n for update;
    -- As in orphans_v1, which may have looked before the effect began: a hint is not enough to doubt a call in flight.
    in_flight := coalesce(s.effect_state = 'intent' and s.effect_class in ('checkable', 'unsafe'), false);
    if s.status <> 'running' or s.fence <> p_fence
       or (is_alive(s.worker_id) and (in_flight or not s.worker_id = any (p_hinted)))
       or (in_flight and s.deadline_at >= now()) then
        return 'stale';
    end if;
    if s.cancel_asked and s.effect_state is distinct from 'intent' then
        update steps set status = 'cancelled', outcome = 'cancelled', worker_id = null, deadline_at = null,
               finished_at = sayso_now() where task_id = p_task and n = p_n;
        became := 'cancelled';
    else
        became := lose_step(p_task, p_n, 'The worker was lost in the middle of it.', 0, t.status);
    end if;
    perform settle(p_task);
    return became;
end $$;

-- Unknown steps whose probe is due: one caller holds each for `p_hold_s`.
create function probes_v1(p_hold_s real, p_limit integer) returns table (task_id bigint, n integer, gen smallint, skill text, key text, action jsonb)
language plpgsql as $$
begin
    return query
    with due as materialized (
        select s.task_id, s.n from steps s where s.status = 'unknown' and s.waits_for = 'probe' and s.ready_at <= sayso_now()
         order by s.ready_at limit p_limit for update skip locked),
    held as (
        update steps s set ready_at = sayso_now() + make_interval(secs => p_hold_s) from due
         where s.task_id = due.task_id and s.n = due.n returning s.task_id, s.n, s.gen, s.skill)
    select h.task_id, h.n, h.gen, h.skill, e.key, e.action from held h
      join effects e on e.task_id = h.task_id and e.n = h.n and e.gen = h.gen;
end $$;

-- A probe's finding: true, false, or null when it could not tell and a person has to be asked.
create function probed_v1(p_task bigint, p_n integer, p_gen smallint, p_happened boolean, p_evidence jsonb) returns text
language plpgsql as $$
declare
    t   tasks;
    s   steps;
begin
    perform act_as('probe', coalesce(p_evidence ->> 'summary', ''));
    select * into t from tasks where id = p_task for update;
    select * into s from steps where task_id = p_task and n = p_n for update;
    if s.status <> 'unknown' or s.gen <> p_gen or s.waits_for is distinct from 'probe' then return 'stale'; end if;
    if p_happened is null then
        perform ask_unknown(p_task, p_n, coalesce(p_evidence ->> 'summary', 'It could not be found out whether it happened.'));
    elsif not p_happened and t.status = 'cancelling' then
        update effects set state = 'not_done', evidence = p_evidence, resolved_at = now()
         where task_id = p_task and n = p_n and gen = p_gen and state = 'unknown';
        perform end_parked_step(p_task, p_n, 'cancelled', 'cancelled', 'It did not happen; the task was stopped.', false);
    elsif not p_happened and s.attempt >= s.max_attempts then
        update effects set state = 'not_done', evidence = p_evidence, resolved_at = now()
         where task_id = p_task and n = p_n and gen = p_gen and state = 'unknown';
        update steps set effect_state = 'not_done' where task_id = p_task and n = p_n;
        perform end_parked_step(p_task, p_n, 'failed', 'error', 'It did not happen: ' || coalesce(s.error, '')
                                || ' (attempt ' || s.attempt || ' of ' || s.max_attempts || ')', t.status = 'paused');
    elsif p_happened then
        perform resolve_step(p_task, p_n, true, p_evidence, null, t.status = 'paused');
    else
        -- The person's yes was for this action and was not used up by it: the next generation runs under it.
        perform resolve_step(p_task, p_n, false, p_evidence, renew_approval(p_task, p_n, p_gen), t.status = 'paused');
    end if;
    return settle(p_task);
end $$;

-- An approved copy of the approval under which generation `p_gen` was begun, with its votes: for an action that is known
-- not to have happened. Null when there was none.
create function renew_approval(p_task bigint, p_n integer, p_gen smallint) returns uuid language plpgsql as $$
declare
    old     approvals;
    made    uuid;
begin
    select a.* into old from effects e join approvals a on a.id = e.approval_id
     where e.task_id = p_task and e.n = p_n and e.gen = p_gen;
    if old.id is null then return null; end if;
    insert into approvals (kind, task_id, n, gen, items, digest, action_hash, card, approvers, requester_id, ladder, status, expires_at)
    values (old.kind, p_task, p_n, p_gen + 1, old.items, old.digest, old.action_hash, old.card, old.approvers, old.requester_id,
            old.ladder, 'pending', old.expires_at) returning id into made;
    insert into decisions (approval_id, principal_id, verdict, reason, channel, delivery_id, decided_at)
    select made, d.principal_id, d.verdict, d.reason, d.channel, d.delivery_id, d.decided_at
      from decisions d where d.approval_id = old.id;
    update approvals set status = 'approved', decided_by = old.decided_by, decided_at = old.decided_at, reason = old.reason
     where id = made;
    return made;
end $$;

-- ---------------------------------------------------------------- a person's hand on a task

create function pause_v1(p_task bigint, p_actor text) returns text language plpgsql as $$
declare
    t   tasks;
begin
    perform act_as(p_actor, 'paused');
    select * into t from tasks where id = p_task for update;
    if t.status not in ('planning', 'running', 'waiting') then return t.status; end if;
    update tasks set status = 'paused' where id = p_task;
    update steps set ready_at = 'infinity' where task_id = p_task and status = 'ready';
    perform touch_cards(p_task);
    return 'paused';
end $$;

create function resume_v1(p_task bigint, p_actor text) returns text language plpgsql as $$
declare
    t   tasks;
begin
    perform act_as(p_actor, 'resumed');
    select * into t from tasks where id = p_task for update;
    if t.status <> 'paused' then return t.status; end if;
    update tasks set status = 'running' where id = p_task;
    update steps set ready_at = sayso_now() where task_id = p_task and status = 'ready';
    return settle(p_task);
end $$;

-- A recorded retry: failed steps get a new generation (and new approvals), what was skipped for their sake waits again.
create function retry_v1(p_task bigint, p_actor text) returns text language plpgsql as $$
declare
    t   tasks;
    s   steps;
begin
    perform act_as(p_actor, 'retry');
    select * into t from tasks where id = p_task for update;
    if t.status <> 'failed' then return t.status; end if;
    -- What was given up may have happened; nobody said that it did not, so it is not run again.
    if exists (select from steps where task_id = p_task and outcome = 'given_up') then return t.status; end if;
    update tasks set status = 'running', finished_at = null, error = null, ends_by = null where id = p_task;
    for s in select * from steps where task_id = p_task and status in ('failed', 'skipped', 'cancelled') order by n for update loop
        if s.status = 'failed' then
            update steps set status = 'ready', outcome = null, gen = gen + 1, attempt = 0, error = null, finished_at = null,
                   effect_state = null, approval_id = null, ready_at = sayso_now(), cancel_asked = false,
                   ends_by = null, waits_until = null, woken = false
             where task_id = p_task and n = s.n;
        else
            update steps set status = 'blocked', outcome = null, error = null, finished_at = null, approval_id = null,
                   cancel_asked = false, ends_by = null, waits_until = null, woken = false where task_id = p_task and n = s.n;
        end if;
    end loop;
    for s in select * from steps where task_id = p_task and status = 'blocked' order by n loop
        update steps set unmet = (select count(*) from steps x where x.task_id = p_task and x.n = any (s.needs) and x.outcome is null)
         where task_id = p_task and n = s.n;
    end loop;
    update steps set status = 'ready', ready_at = sayso_now() where task_id = p_task and status = 'blocked' and unmet = 0;
    insert into audit (kind, actor, task_id) values ('retry', p_actor, p_task);
    return settle(p_task);
end $$;
