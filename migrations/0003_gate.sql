-- The gate's moves: a risky step waits for a decision, a lost one for a probe or a person.
--
-- What a person answers, and what follows from it, is in 0010_deciding.sql.

-- ---------------------------------------------------------------- what is not written twice
-- An ask waits long, so its row says nothing twice and nothing that is taken for granted.

-- `approvers` or `card` without the members that whoever reads them takes for just that.
create function thinned(p jsonb) returns jsonb language plpgsql immutable as $$
declare
    granted constant jsonb := '{"people": [], "roles": [], "slack_usergroups": [], "four_eyes": false, "veto": true,
        "provenance": [], "preview": "", "undo": false, "destructive": false}';
begin
    if jsonb_typeof(p) is distinct from 'object' then return p; end if;
    return (select coalesce(jsonb_object_agg(key, value), '{}') from jsonb_each(p) where granted -> key is distinct from value);
end $$;

-- The only item of a card has its words and its hash in the row.
create function thin_approval() returns trigger language plpgsql as $$
declare
    item    jsonb := case when jsonb_typeof(new.items) = 'array' and jsonb_array_length(new.items) = 1 then new.items -> 0 end;
begin
    if jsonb_typeof(item) = 'object' and new.kind <> 'plan' then
        if item -> 'card' = new.card then item := item - 'card'; end if;
        if item ->> 'action_hash' = new.action_hash then item := item - 'action_hash'; end if;
        new.items := jsonb_build_array(item);
    end if;
    new.card := thinned(new.card);
    new.approvers := thinned(new.approvers);
    return new;
end $$;
create trigger approval_thin before insert on approvals for each row execute function thin_approval();

-- The items with all that each of them says, to stand beside others.
create function whole_items(p_a approvals) returns jsonb language plpgsql stable as $$
begin
    if jsonb_array_length(p_a.items) <> 1 or p_a.kind = 'plan' then return p_a.items; end if;
    return jsonb_build_array(jsonb_build_object('card', p_a.card, 'action_hash', p_a.action_hash) || (p_a.items -> 0));
end $$;

-- ---------------------------------------------------------------- park

-- `p_ask` = {kind, items, digest, action_hash, card, approvers, ladder, expires_in_s}, each item of an action with a `card` of
-- its own; `p_places` are the conversations whose card is written now. An older approval of the step is superseded, and
-- what the task asks of the same people meanwhile stands on one card. The items of a plan are steps that come after this one. Answers the approval's id, null when the fence is
-- lost or the task is being stopped, which ends the step.
create function park_v1(p_worker bigint, p_task bigint, p_n integer, p_fence bigint, p_ask jsonb, p_places bigint[], p_why text)
returns uuid language plpgsql as $$
declare
    t       tasks;
    s       steps;
    a       approvals;
    mine    jsonb;
    v_editors jsonb;
    v_items jsonb := p_ask -> 'items';
    asks    jsonb := thinned((p_ask -> 'approvers') - 'editors');
    until   timestamptz := sayso_now() + make_interval(secs => (p_ask ->> 'expires_in_s')::real);
    old     uuid[] := '{}';
    made    uuid;
    was     uuid;
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
    select e into mine from jsonb_array_elements(v_items) e where (e ->> 'step')::integer = p_n and e ->> 'task' = p_task::text;
    -- Another step's card names exactly this already: it is decided there.
    select x.* into a from approvals x where x.task_id = p_task and x.merged_into is null and x.id is distinct from s.approval_id
       and x.status in ('pending', 'approved') and x.expires_at > sayso_now() and x.approvers - 'editors' = asks
       and s.editors = '{}' and x.items @> jsonb_build_array(jsonb_build_object('task', p_task::text, 'step', p_n, 'digest', mine ->> 'digest'))
       and not exists (select from effects e where e.approval_id = x.id and e.task_id = p_task and e.n = p_n)
     order by x.status limit 1 for update;
    if a.id is null and s.approval_id is not null then
        select x.* into a from approvals x where x.id = s.approval_id and x.status = 'pending' and x.approvers - 'editors' = asks
           and x.items @> jsonb_build_array(jsonb_build_object('task', p_task::text, 'step', p_n, 'digest', mine ->> 'digest'));
    end if;
    -- What runs at once runs out of a budget at once: that is one question.
    if a.id is null and p_ask ->> 'kind' = 'budget' then
        select x.* into a from approvals x where x.task_id = p_task and x.kind = 'budget' and x.status = 'pending'
           and x.expires_at > sayso_now() and x.approvers - 'editors' = asks
           and x.items -> 0 -> 'action' -> 'args' -> 'budget' = v_items -> 0 -> 'action' -> 'args' -> 'budget' limit 1 for update;
    end if;
    if a.id is not null then
        update steps set status = case when a.status = 'pending' then 'awaiting_approval' else 'ready' end, worker_id = null,
               deadline_at = null, approval_id = a.id, attempt = greatest(attempt - 1, 0),
               waits_for = case when a.status = 'pending' then 'approval' end,
               waits_until = case when a.status <> 'pending' then waits_until end,
               ready_at = case when t.status = 'paused' then 'infinity' else sayso_now() end
         where task_id = p_task and n = p_n;
        perform settle(p_task);
        return a.id;
    end if;
    -- Denied while the step was on its way here: its next look at the gate finds that, and nobody is asked a second time.
    if exists (select from approvals x where x.id = s.approval_id and x.status = 'denied'
                  and x.items @> jsonb_build_array(jsonb_build_object('task', p_task::text, 'step', p_n, 'digest', mine ->> 'digest'))) then
        perform back_to_ready(p_task, p_n, t.status, 0, false, null);
        perform settle(p_task);
        return null;
    end if;
    -- What is asked about this step is replaced. What else this task asks of the same people, and nobody has answered yet,
    -- comes onto the same card, item by item.
    for a in
        select x.* from approvals x where x.task_id = p_task and x.merged_into is null and x.status in ('pending', 'approved')
           and (x.n = p_n and jsonb_array_length(x.items) = 1
                or x.status = 'pending' and x.kind in ('action', 'batch', 'plan') and p_ask ->> 'kind' in ('action', 'batch', 'plan')
                   and not exists (select from jsonb_array_elements(x.items) e where e ->> 'task' <> p_task::text)
                   and (x.items @> jsonb_build_array(jsonb_build_object('step', p_n))
                        or x.kind <> 'plan' and x.approvers - 'editors' = asks and x.ladder = p_ask ->> 'ladder'
                           and whole_items(x) -> 0 ? 'card' and mine ? 'card'
                           and jsonb_array_length(x.items) + jsonb_array_length(v_items) <= 20
                           and not exists (select from decisions d where d.approval_id = x.id)))
         order by x.n for update
    loop
        update approvals set status = 'superseded', reason = case when a.items @> jsonb_build_array(jsonb_build_object('step', p_n))
               then p_why else 'joined with other asks of the task on one card' end where id = a.id;
        old := old || a.id;
        if a.status = 'pending' then
            select v_items || coalesce(jsonb_agg(e), '[]') into v_items from jsonb_array_elements(whole_items(a)) e
             where not v_items @> jsonb_build_array(jsonb_build_object('step', e -> 'step'));
            until := least(until, a.expires_at);
            if a.approvers ? 'editors' then v_editors := coalesce(v_editors, '[]') || (a.approvers -> 'editors'); end if;
        end if;
    end loop;
    select jsonb_agg(e order by (e ->> 'step')::integer) into v_items from jsonb_array_elements(v_items) e;
    select coalesce(v_editors, '[]') || coalesce(jsonb_agg(p.key), '[]') into v_editors from principals p
     where p.id = any (s.editors) or p.id = any (t.steered_by) and person_of(p.id) <> person_of(t.requester_id)
        or p_ask ->> 'kind' = 'plan' and exists (
        select from steps x where x.task_id = p_task and p.id = any (x.editors)
           and x.n in (select (e ->> 'step')::integer from jsonb_array_elements(v_items) e));
    insert into approvals (kind, task_id, n, gen, items, digest, action_hash, card, approvers, requester_id, ladder, status, expires_at)
    values (case when jsonb_array_length(v_items) = 1 or p_ask ->> 'kind' = 'plan' then p_ask ->> 'kind' else 'batch' end,
            p_task, (v_items -> 0 ->> 'step')::integer, s.gen, v_items,
            case when jsonb_array_length(v_items) = 1 then p_ask ->> 'digest' else digest_of(v_items) end,
            case when jsonb_array_length(v_items) = 1 then p_ask ->> 'action_hash' else '' end,
            case when jsonb_array_length(v_items) = 1 or p_ask ->> 'kind' = 'plan' then p_ask -> 'card' else card_of(v_items) end,
            asks || case when v_editors = '[]' then '{}' else jsonb_build_object('editors', v_editors) end,
            t.requester_id, p_ask ->> 'ladder', 'pending', until)
    returning id into made;
    update steps set status = 'awaiting_approval', worker_id = null, deadline_at = null, approval_id = made,
           attempt = greatest(attempt - 1, 0), waits_for = 'approval', waits_until = null
     where task_id = p_task and n = p_n;
    update steps set status = status, approval_id = made
     where task_id = p_task and n <> p_n and outcome is null and effect_state is null
       and n in (select (e ->> 'step')::integer from jsonb_array_elements(v_items) e);
    foreach was in array old loop
        perform retarget_cards(was, made);
    end loop;
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
     where task_id = p_task and n = p_n and status in ('awaiting_approval', 'unknown', 'blocked', 'ready') returning * into me;
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
    if nobody_was_asked(p_approval) then
        return undeliverable_v1(p_approval, 'no message reached anybody who may decide, and nobody opened it.');
    end if;
    perform act_as('sweeper', 'nobody answered in time');
    update approvals set status = 'expired' where id = p_approval;
    perform end_asked_steps(a, 'skipped', 'expired', 'Nobody answered the approval in time.', t.status = 'paused');
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
        update steps set status = 'ready', gen = gen + 1, effect_state = null, waits_for = null, waits_until = null,
               approval_id = p_approval,
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
    update approvals set status = 'cancelled', reason = p_why where task_id = p_task and status = 'pending' and kind <> 'unknown';
    perform end_yes(array(select id from approvals where task_id = p_task and status = 'approved'), p_why);
    insert into audit (kind, actor, task_id, data) values ('cancel', p_actor, p_task, jsonb_build_object('why', p_why));
    return settle(p_task);
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
    for place in select distinct c.conversation_id from cards c join conversations v on v.id = c.conversation_id
                  where c.task_id = p_task and v.channel <> 'sms' loop      -- a phone is asked by the ladder alone
        perform place_card('approval', p_task, made, place);
    end loop;
    insert into audit (kind, actor, task_id, approval_id, data)
    values ('unknown', setting('sayso.actor'), p_task, made, jsonb_build_object('step', p_n, 'why', p_error));
    return made;
end $$;

-- One of the steps that a worker died over may be what killed it. They come back at different times, drawn anew with each
-- attempt, so that the others do not share its next worker: within 0.4 s after the first loss, within four after the next.
create function apart_s(p_task bigint, p_n integer, p_attempt smallint) returns real language plpgsql immutable as $$
begin
    return (hashint8(p_task * 1000 + p_n * 10 + p_attempt) & 15) / case when p_attempt < 2 then 40.0 else 4.0 end;
end $$;

-- A running step whose call may or may not have reached the world. Idempotent ones run again under the same key while their
-- attempts last; a checkable one is probed after `p_quarantine_s`; for others a person is asked at once: core/state.py
-- lost_step_becomes, in SQL. Answers the step's status.
create function lose_step(p_task bigint, p_n integer, p_error text, p_quarantine_s real, p_again_s real, p_task_status text) returns text
language plpgsql as $$
declare
    s   steps;
begin
    select * into s from steps where task_id = p_task and n = p_n;
    if s.effect_state is distinct from 'intent' or s.effect_class = 'pure'
       or s.effect_class = 'idempotent' and s.attempt < s.max_attempts then
        if s.attempt >= s.max_attempts then
            update steps set status = 'failed', outcome = 'error', worker_id = null, deadline_at = null, finished_at = sayso_now(),
                   error = p_error || ' (attempt ' || s.attempt || ' of ' || s.max_attempts || ')'
             where task_id = p_task and n = p_n;
            perform free_dependents(p_task, p_n, s.dependents, false, p_task_status = 'paused');
            return 'failed';
        end if;
        return back_to_ready(p_task, p_n, p_task_status, p_again_s, true, p_error);
    end if;
    update effects set state = 'unknown' where task_id = p_task and n = p_n and gen = s.gen;
    update steps set status = 'unknown', worker_id = null, deadline_at = null, effect_state = 'unknown', error = p_error,
           waits_for = 'probe', ready_at = sayso_now() + make_interval(secs => p_quarantine_s)
     where task_id = p_task and n = p_n;
    if s.effect_class <> 'checkable' then
        perform ask_unknown(p_task, p_n, p_error);
    end if;
    return 'unknown';
end $$;

create function lose_v1(p_worker bigint, p_task bigint, p_n integer, p_fence bigint, p_error text) returns text
language plpgsql as $$
declare
    t       tasks;
    s       steps;
    became  text;
begin
    perform act_as('worker:' || p_worker, p_error);
    select * into t from tasks where id = p_task for update;
    select * into s from steps where task_id = p_task and n = p_n and fence = p_fence and status = 'running'
       and worker_id = p_worker for update;
    if not found then return 'stale'; end if;
    -- The call may still be under way over there: nobody looks before it could have taken its whole time once more.
    became := lose_step(p_task, p_n, p_error, s.timeout_s, 0, t.status);
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
        became := lose_step(p_task, p_n, 'The worker was lost in the middle of it.', 0, apart_s(p_task, p_n, s.attempt), t.status);
    end if;
    perform settle(p_task);
    return became;
end $$;

-- What a worker found out after its fence was lost: kept once, and shown to whoever is asked. It moves nothing. Of a step that
-- this very claim completed there is nothing to tell: only the answer to the worker was lost.
create function file_evidence_v1(p_task bigint, p_n integer, p_fence bigint, p_evidence jsonb) returns void language plpgsql as $$
begin
    perform 1 from tasks where id = p_task for update;
    insert into late_evidence (task_id, n, fence, evidence)
    select p_task, p_n, p_fence, p_evidence
     where not exists (select from steps where task_id = p_task and n = p_n and fence = p_fence and status = 'succeeded')
       and not exists (select from late_evidence
                        where task_id = p_task and n = p_n and fence = p_fence and evidence = p_evidence);
    if found then
        perform touch_cards(p_task);
    end if;
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
-- not to have happened. Of a card with several items only this one is renewed: the others were not asked about again.
-- Null when there was none.
create function renew_approval(p_task bigint, p_n integer, p_gen smallint) returns uuid language plpgsql as $$
declare
    old     approvals;
    item    jsonb;
    made    uuid;
begin
    select a.* into old from effects e join approvals a on a.id = e.approval_id
     where e.task_id = p_task and e.n = p_n and e.gen = p_gen;
    if old.id is null then return null; end if;
    if jsonb_array_length(old.items) > 1 then
        select i into item from jsonb_array_elements(old.items) i
         where i ->> 'task' = p_task::text and (i ->> 'step')::integer = p_n;
        old.kind := 'action';
        old.items := jsonb_build_array(item);
        old.digest := item ->> 'digest';
        old.card := coalesce(item -> 'card', old.card);
    end if;
    insert into approvals (kind, task_id, n, gen, items, digest, action_hash, card, approvers, requester_id, ladder, status, expires_at)
    values (old.kind, p_task, p_n, p_gen + 1, old.items, old.digest, old.action_hash, old.card, old.approvers, old.requester_id,
            old.ladder, 'pending', old.expires_at) returning id into made;
    insert into decisions (approval_id, principal_id, seat_id, verdict, reason, channel, delivery_id, decided_at)
    select made, d.principal_id, d.seat_id, d.verdict, d.reason, d.channel, d.delivery_id, d.decided_at
      from decisions d where d.approval_id = old.id and d.verdict = any (votes());
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

-- A recorded retry: failed steps get a new generation (and new approvals), what was left out for their sake waits again. What
-- a turn has read (`handled`), or a rollback has put aside, it leaves alone: the plan has gone round it since.
create function retry_v1(p_task bigint, p_actor text) returns text language plpgsql as $$
declare
    t       tasks;
    s       steps;
    again   integer[] := '{}';
begin
    perform act_as(p_actor, 'retry');
    select * into t from tasks where id = p_task for update;
    if t.status <> 'failed' then return t.status; end if;
    -- What was given up may have happened; nobody said that it did not, so it is not run again.
    if exists (select from steps where task_id = p_task and outcome = 'given_up') then return t.status; end if;
    update tasks set status = 'running', finished_at = null, error = null, ends_by = null where id = p_task;
    for s in select * from steps where task_id = p_task and status in ('failed', 'skipped', 'cancelled') and not handled
              order by n for update loop
        -- A step needs only lower numbers, so it is known already which of its needs come again.
        continue when s.run_after = 'success' and exists (
            select from steps x where x.task_id = p_task and x.n = any (s.needs) and x.outcome <> 'ok');
        again := again || s.n;
        update steps set status = case when s.status = 'failed' and not s.needs && again then 'ready' else 'blocked' end,
               outcome = null, gen = gen + case when s.status = 'failed' then 1 else 0 end, attempt = 0, error = null,
               finished_at = null, effect_state = null, approval_id = null, cancel_asked = false, ends_by = null, waits_until = null,
               waits_key = null, woken = false, lane = t.lane, priority = t.priority, ready_at = sayso_now(),
               unmet = (select count(*) from steps x where x.task_id = p_task and x.n = any (s.needs) and x.outcome is null)
         where task_id = p_task and n = s.n;
    end loop;
    update steps set status = 'ready' where task_id = p_task and status = 'blocked' and unmet = 0;
    insert into audit (kind, actor, task_id) values ('retry', p_actor, p_task);
    return settle(p_task);
end $$;
