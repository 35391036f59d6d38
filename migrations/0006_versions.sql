-- Every version of a task, shown and gone back to.
--
-- `events` tell each move; what they do not tell is kept here before it is written over: the arguments of an amended step, how
-- a step had ended before it was run again. A plan that grows or is put back raises the task's version as a status does.
-- A *fork* copies a task's rows up to a step into a task of its own; a *rollback* puts a task's plan back to what it was at a
-- version. Neither takes back what has happened in the world.

-- The events that were there when the step came: up to which of them it did not exist. The default spares the planner a word.
alter table steps add column added_after bigint not null default coalesce(pg_sequence_last_value('moves_id_seq'), 0);

-- Where a fork comes from. Whose words it carries out beside its requester's stands in `steered_by`: their rights bound it.
alter table tasks add column forked_from bigint, add column forked_step integer;

-- ---------------------------------------------------------------- what would be written over

-- A step (n >= 1) or the task itself (n = 0) as it was up to `version`.
create table row_versions (
    task_id     bigint not null references tasks on delete cascade,
    n           integer not null,
    version     integer not null,
    was         jsonb not null,
    primary key (task_id, n, version)
);

create function keep_step_version() returns trigger language plpgsql as $$
begin
    insert into row_versions (task_id, n, version, was) values (old.task_id, old.n, old.version, to_jsonb(old))
    on conflict do nothing;
    return new;
end $$;

create function keep_task_version() returns trigger language plpgsql as $$
begin
    insert into row_versions (task_id, n, version, was) values (old.id, 0, old.version, to_jsonb(old)) on conflict do nothing;
    return new;
end $$;

create trigger step_amended before update of skill, args, origins, needs, title on steps for each row
    when ((old.skill, old.args, old.origins, old.needs, old.title) is distinct from (new.skill, new.args, new.origins, new.needs, new.title))
    execute function keep_step_version();
create trigger step_reopened before update of outcome on steps for each row
    when (old.outcome is not null and new.outcome is null) execute function keep_step_version();
create trigger task_reopened before update of finished_at on tasks for each row
    when (old.finished_at is not null and new.finished_at is null) execute function keep_task_version();

-- ---------------------------------------------------------------- what a model answered

-- The answers to a turn's questions, by what was asked: a turn whose worker died before its outcome was written is not bought
-- again. Read by the worker alone, and gone with the task. No foreign key: its lock would wait for every move of the task.
create table answers (
    task_id         bigint not null,
    n               integer not null,
    gen             smallint not null,
    prompt_sha256   text not null,
    answer          jsonb not null,
    answered_at     timestamptz not null default now(),
    primary key (task_id, n, gen, prompt_sha256)
);

-- ---------------------------------------------------------------- moves
-- A plan is drawn and changes. A fork's copies come as they had ended; a rollback has steps wait again that had ended.

insert into transitions (machine, from_state, to_state) values
    ('plan', '', 'drawn'),
    ('plan', 'changed', 'changed'),
    ('plan', 'drawn', 'changed'),
    ('step', '', 'cancelled'),
    ('step', '', 'failed'),
    ('step', '', 'skipped'),
    ('step', 'failed', 'blocked'),
    ('step', 'succeeded', 'blocked');

-- Named to come after task_moves, so that a plan and a status changed in one statement are two versions.
create function record_plan() returns trigger language plpgsql as $$
begin
    new.version := new.version + 1;
    new.updated_at := now();
    insert into moves (task_id, move, version, actor, why, data)
    values (new.id, move_of('plan', case when old.plan_version = 1 then 'drawn' else 'changed' end, 'changed'), new.version,
            setting('sayso.actor'), setting('sayso.why'),
            jsonb_build_object('from', old.plan_version, 'to', new.plan_version));
    return new;
end $$;

create trigger task_plans before update of plan_version on tasks for each row
    when (old.plan_version <> new.plan_version) execute function record_plan();

-- ---------------------------------------------------------------- fork

-- `p_copies` are rows that keep how they ended (core/branches.py), `p_fresh` an array of PlannedStep. Null when the requester
-- has a task with this idempotency key. `p_inbound` is what asked for the fork; what asked for the source stays the new
-- task's own beginning, so that a turn of the model knows what is wanted.
create function fork_v1(
    p_source bigint, p_step integer, p_inbound bigint, p_conversation bigint, p_requester bigint, p_steered_by bigint[],
    p_copies jsonb, p_fresh jsonb, p_idempotency_key text, p_actor text, p_why text
) returns bigint language plpgsql as $$
declare
    made    bigint;
begin
    perform act_as(p_actor, p_why);
    -- As much time as the source had.
    insert into tasks (inbound_id, conversation_id, requester_id, goal, kind, status, lane, priority, idempotency_key,
                       forked_from, forked_step, steered_by, ends_by)
    select inbound_id, p_conversation, p_requester, goal, kind, 'queued', lane, priority, p_idempotency_key, id, p_step,
           p_steered_by, sayso_now() + (ends_by - created_at) from tasks where id = p_source
    on conflict (requester_id, idempotency_key) where idempotency_key is not null do nothing returning id into made;
    if made is null then return null; end if;
    insert into steps (task_id, n, kind, skill, title, args, origins, needs, dependents, run_after, handled, status, outcome,
                       effect_class, lane, priority, timeout_s, max_attempts, result, error, finished_at)
    select made, c.n, c.kind, c.skill, c.title, c.args, c.origins, c.needs, c.dependents, c.run_after, c.handled, c.status,
           c.outcome, c.effect_class, t.lane, t.priority, c.timeout_s, c.max_attempts, c.result, c.error, sayso_now()
      from tasks t, jsonb_populate_recordset(null::steps, p_copies) c where t.id = made;
    perform insert_steps(made, p_fresh);
    if p_inbound is not null then
        update inbound set task_id = made where id = p_inbound;
    end if;
    if p_conversation is not null then
        perform place_card('task', made, null, p_conversation);
    end if;
    insert into audit (kind, actor, task_id, data)
    values ('fork', p_actor, made, jsonb_build_object('from', p_source, 'step', p_step, 'why', p_why));
    perform act_as(p_actor, '');
    perform settle(made);
    return made;
end $$;

-- ---------------------------------------------------------------- rollback

-- Puts the plan of an open or failed task back (core/branches.py, rolled_back; the caller holds the task and its steps).
-- `p_later` came after the version and count no more, `p_drop` of them end; `p_again` run once more with new keys and new
-- approvals. What is under way or in doubt is left alone. Answers the task's status.
create function rollback_v1(p_task bigint, p_later integer[], p_drop integer[], p_again integer[], p_actor text, p_why text)
returns text language plpgsql as $$
declare
    t   tasks;
    s   steps;
begin
    perform act_as(p_actor, p_why);
    select * into t from tasks where id = p_task for update;
    if t.status in ('succeeded', 'abandoned', 'cancelled', 'cancelling') then return t.status; end if;
    if t.status = 'failed' then
        update tasks set status = 'running', finished_at = null, error = null, ends_by = null where id = p_task;
    end if;
    perform 1 from steps where task_id = p_task and n = any (p_drop || p_again) order by n for update;
    perform withdraw_asks(p_task, p_drop || p_again, p_why);
    for s in select * from steps where task_id = p_task and n = any (p_drop || p_again) order by n loop
        if s.status = 'unknown' or s.status = 'running' and s.effect_state is not distinct from 'intent' then continue; end if;
        if s.outcome is null then
            update steps set status = 'cancelled', outcome = 'cancelled', error = p_why, finished_at = sayso_now(), waits_for = null,
                   worker_id = null, deadline_at = null where task_id = p_task and n = s.n;
        end if;
        if s.n = any (p_again) then
            update steps set status = 'blocked', outcome = null, gen = gen + 1, attempt = 0, result = null, error = null,
                   finished_at = null, effect_state = null, approval_id = null, cancel_asked = false, ready_at = null,
                   ends_by = null, waits_until = null, waits_key = null, woken = false
             where task_id = p_task and n = s.n;
        end if;
    end loop;
    update steps x set handled = x.n = any (p_later) or exists (
               select from steps r where r.task_id = p_task and r.run_after = 'settled' and x.n = any (r.needs)
                  and not r.n = any (p_later)),
           dependents = array(select d from unnest(x.dependents) d where not d = any (p_later))
     where x.task_id = p_task;
    update steps x set unmet = (select count(*) from steps o where o.task_id = p_task and o.n = any (x.needs) and o.outcome is null)
     where x.task_id = p_task and x.n = any (p_again);
    update steps set status = 'ready', ready_at = case when t.status = 'paused' then 'infinity' else sayso_now() end
     where task_id = p_task and n = any (p_again) and status = 'blocked' and unmet = 0;
    update tasks set plan_version = plan_version + 1 where id = p_task;
    insert into audit (kind, actor, task_id, data)
    values ('rollback', p_actor, p_task, jsonb_build_object('why', p_why, 'dropped', p_drop, 'again', p_again));
    return settle(p_task);
end $$;
