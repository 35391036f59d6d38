-- Every version of a task, shown and gone back to.
--
-- `events` tell each move; what they do not tell is kept here before it is written over: the arguments of an amended step, how
-- a step had ended before it was run again. A plan that grows or is put back raises the task's version as a status does.
-- A *fork* copies a task's rows up to a step into a task of its own; a *rollback* puts a task's plan back to what it was at a
-- version. Neither takes back what has happened in the world.

-- The events that were there when the step came: up to which of them it did not exist. The default spares the planner a word.
alter table steps add column added_after bigint not null default coalesce(pg_sequence_last_value('events_id_seq'), 0);

-- `bounded_by` are people whose rights bound the task's as well: those whose words it carries out beside the requester's.
alter table tasks add column forked_from bigint, add column forked_step integer, add column bounded_by bigint[];

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
    insert into events (task_id, machine, from_state, to_state, version, actor, why, data)
    values (new.id, 'plan', case when old.plan_version = 1 then 'drawn' else 'changed' end, 'changed', new.version,
            setting('sayso.actor'), setting('sayso.why'),
            jsonb_build_object('from', old.plan_version, 'to', new.plan_version));
    return new;
end $$;

create trigger task_plans before update of plan_version on tasks for each row
    when (old.plan_version <> new.plan_version) execute function record_plan();
