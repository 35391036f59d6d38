-- What reaches a task from outside while it lives: events, children's ends, deadlines, a person's word.
--
-- An event is a row of `signals` and stays until it is read; `signal_reads` is written in the commit of the turn (or the
-- waiting step) that read it, so a crash neither loses nor doubles it. Turns and waiting steps read independently.
-- An event for one task is sent under that task's lock; a global one is found by its name by whoever waits for it.
-- A child's end appends an event to its parent, which advances in a commit of its own. Who holds two tasks took the child
-- first, as that event does.

alter table tasks add column ends_by timestamptz, add column steered_by bigint[] not null default '{}';
alter table steps add column within_s real, add column ends_by timestamptz, add column waits_until timestamptz,
    add column waits_key text, add column woken boolean not null default false;

-- Not by status: an index that names a column, also in its condition, keeps each change of it from staying in its page.
create index tasks_overdue on tasks (ends_by) where ends_by is not null and finished_at is null;
create index tasks_open_children on tasks (parent_id) where parent_id is not null and finished_at is null;
create index steps_within on steps (task_id) where within_s is not null and outcome is null;
create index steps_waits_key on steps (waits_key) where status = 'waiting' and waits_key is not null;

-- `origin`: whose words the body is. `requester`: of the person the task is for; `person`: of someone who may steer it;
-- `trusted`: of the engine or a turn that had read nothing untrusted; `untrusted`: of anyone else, data and no order.
create table signals (
    id          bigint generated always as identity primary key,
    stream      text not null check (stream in ('task_input', 'task_output', 'signals', 'errors', 'external', 'history')),
    scope       text not null check (scope ~ '^(task/\d+|conversation/\d+|global)$'),
    task_id     bigint references tasks on delete cascade,
    priority    text not null check (priority in ('interrupt', 'wake', 'normal', 'low')),
    name        text not null default '',
    body        jsonb not null,
    origin      text not null check (origin in ('requester', 'person', 'trusted', 'untrusted')),
    sender_id   bigint references principals,
    dedup       text unique,
    sent_at     timestamptz not null default sayso_now(),
    check ((task_id is null) = (scope = 'global'))
);
create index signals_task on signals (task_id, id) where task_id is not null;
create index signals_name on signals (name, id) where name <> '';
create index signals_global on signals (sent_at) where task_id is null;

create table signal_reads (
    task_id     bigint not null references tasks on delete cascade,
    signal_id   bigint not null references signals on delete cascade,
    by_turn     boolean not null,
    n           integer not null,
    primary key (task_id, signal_id, by_turn)
);
create index signal_reads_signal on signal_reads (signal_id);

-- ---------------------------------------------------------------- what has arrived

-- Events of this name that the task may see and that no waiting step of it has read.
create function events_named(p_task bigint, p_name text) returns setof signals language plpgsql stable as $$
begin
    return query
    select g.* from signals g join tasks t on t.id = p_task
     where g.name = p_name and (g.task_id = p_task or g.task_id is null and g.sent_at >= t.created_at)
       and not exists (select from signal_reads r where r.task_id = p_task and r.signal_id = g.id and not r.by_turn)
     order by g.id;
end $$;

create function has_arrived(p_task bigint, p_key text) returns boolean language plpgsql stable as $$
begin
    if p_key is null then return false; end if;
    if p_key ~ '^child:\d+$' then
        return exists (select from tasks where id = substr(p_key, 7)::bigint and finished_at is not null);
    end if;
    if p_key = '#attachments' then
        return not exists (select from attachments where task_id = p_task and due_at is not null);
    end if;
    return exists (select from events_named(p_task, p_key));
end $$;

-- Waiting steps for which something has come: what a sender looks up after its commit, and the sweeper for those who died.
create function arrived_v1() returns table (task_id bigint, n integer) language plpgsql stable as $$
begin
    return query
    select distinct s.task_id, s.n from steps s
      join signals g on g.name = s.waits_key join tasks t on t.id = s.task_id
     where s.status = 'waiting' and s.waits_key is not null
       and (g.task_id = s.task_id or g.task_id is null and g.sent_at >= t.created_at)
       and not exists (select from signal_reads r where r.task_id = s.task_id and r.signal_id = g.id and not r.by_turn)
     limit 500;
end $$;

create function wake_early_v1(p_task bigint, p_n integer) returns boolean language plpgsql as $$
declare
    t   tasks;
begin
    perform act_as('signal', 'what it waited for has come');
    select * into t from tasks where id = p_task for update;
    update steps set status = 'ready', ready_at = case when t.status = 'paused' then 'infinity' else sayso_now() end
     where task_id = p_task and n = p_n and status = 'waiting' and has_arrived(p_task, waits_key);
    if not found then return false; end if;
    perform settle(p_task);
    return true;
end $$;

create function mark_read(p_task bigint, p_n integer, p_read bigint[], p_by_turn boolean) returns void language plpgsql as $$
begin
    insert into signal_reads (task_id, signal_id, by_turn, n)
    select p_task, g.id, p_by_turn, p_n from signals g where g.id = any (p_read) on conflict do nothing;
end $$;

-- ---------------------------------------------------------------- waiting

-- The step waits: for `p_seconds` (null: as long as it may), for an event named `p_key`, at most `p_within_s` from its first
-- wait on. The attempt is not charged; a call that had begun was not made. A step of another kind than `wait` that has
-- waited so long fails. Answers waiting | failed | cancelled | stale.
create function wait_v1(
    p_worker bigint, p_task bigint, p_n integer, p_fence bigint, p_for text, p_seconds real, p_key text, p_within_s real,
    p_read bigint[]
) returns text language plpgsql as $$
declare
    t       tasks;
    s       steps;
    v_until timestamptz;
begin
    perform act_as('worker:' || p_worker, p_for);
    if p_key is not null then   -- before the task's lock, as whoever sends a global event does
        perform pg_advisory_xact_lock(hashtextextended('signal:' || p_key, 0));
    end if;
    select * into t from tasks where id = p_task for update;
    select * into s from steps where task_id = p_task and n = p_n and fence = p_fence and status = 'running'
       and worker_id = p_worker for update;
    if not found then return 'stale'; end if;
    with unmade as (
        update effects set state = 'not_done', resolved_at = now()
         where task_id = p_task and n = p_n and gen = s.gen and state = 'intent' returning grant_id)
    update grants g set uses = g.uses - 1, uses_left = g.uses_left + 1, version = g.version + 1
      from unmade u where g.id = u.grant_id;
    update steps set effect_state = 'not_done' where task_id = p_task and n = p_n and effect_state = 'intent';
    perform mark_read(p_task, p_n, p_read, false);
    if t.status = 'cancelling' then
        perform back_to_ready(p_task, p_n, t.status, 0, false, null);
        perform settle(p_task);
        return 'cancelled';
    end if;
    v_until := coalesce(s.waits_until, sayso_now() + make_interval(secs => p_within_s));
    if s.kind <> 'wait' and v_until <= sayso_now() then
        update steps set status = 'failed', outcome = 'error', worker_id = null, deadline_at = null, finished_at = sayso_now(),
               error = 'It waited too long: ' || p_for where task_id = p_task and n = p_n;
        perform free_dependents(p_task, p_n, s.dependents, false, t.status = 'paused');
        perform settle(p_task);
        return 'failed';
    end if;
    update steps set status = 'waiting', worker_id = null, deadline_at = null, attempt = greatest(attempt - 1, 0),
           waits_for = p_for, waits_key = p_key, waits_until = v_until,
           ready_at = case when woken or has_arrived(p_task, p_key) then sayso_now()
                           when p_seconds is null then v_until
                           else least(sayso_now() + make_interval(secs => p_seconds), v_until) end
     where task_id = p_task and n = p_n;
    perform settle(p_task);
    return 'waiting';
end $$;

-- ---------------------------------------------------------------- sending

-- A turn that reads what has come, after everything that is open now. `p_turn` is a PlannedStep without number and needs.
create function add_turn(p_task bigint, p_turn jsonb) returns void language plpgsql as $$
declare
    v_n integer;
    v_needs jsonb;
begin
    select max(n) + 1, coalesce(jsonb_agg(n order by n) filter (where outcome is null), '[]') into v_n, v_needs
      from steps where task_id = p_task;
    perform insert_steps(p_task, jsonb_build_array(p_turn || jsonb_build_object('n', v_n, 'needs', v_needs)));
end $$;

-- One event to one task. What people say to a task without a mind (or a step that waits for a reply) is refused: 'deaf'.
-- Answers {kind: sent | duplicate | not_found | over | full | deaf, status, interrupted, woken, turn: running|coming|added|none}.
create function signal_task_v1(
    p_task bigint, p_stream text, p_scope text, p_priority text, p_name text, p_body jsonb, p_origin text, p_sender bigint,
    p_dedup text, p_turn jsonb, p_unread_most integer, p_actor text
) returns jsonb language plpgsql as $$
declare
    t           tasks;
    v_now       timestamptz := sayso_now();
    v_turn      text := 'none';
    stopped     integer[] := '{}';
    roused      integer[] := '{}';
    v_ready     timestamptz;
begin
    select * into t from tasks where id = p_task for update;
    if t.id is null then return jsonb_build_object('kind', 'not_found'); end if;
    if p_dedup is not null and exists (select from signals where dedup = p_dedup) then
        return jsonb_build_object('kind', 'duplicate', 'status', t.status);
    end if;
    if t.finished_at is not null or t.status = 'cancelling' then
        return jsonb_build_object('kind', 'over', 'status', t.status);
    end if;
    if p_stream = 'task_input' and t.kind <> 'plan' and not exists (
        select from steps where task_id = p_task and outcome is null and kind = 'wait' and args ->> 'event' = p_name) then
        return jsonb_build_object('kind', 'deaf', 'status', t.status);
    end if;
    if (select count(*) from signals g where g.task_id = p_task and g.stream <> 'history' and not exists (
            select from signal_reads r where r.task_id = p_task and r.signal_id = g.id)) >= p_unread_most then
        return jsonb_build_object('kind', 'full', 'status', t.status);
    end if;
    perform act_as(p_actor, p_priority || ' event' || case when p_name <> '' then ' ' || p_name else '' end);
    insert into signals (stream, scope, task_id, priority, name, body, origin, sender_id, dedup)
    values (p_stream, p_scope, p_task, p_priority, p_name, p_body, p_origin, p_sender, p_dedup);
    if p_origin = 'person' and not p_sender = any (t.steered_by) then
        update tasks set steered_by = steered_by || p_sender where id = p_task;
    end if;
    if p_name = 'parent' then   -- what the parent passes on is no freer than the parent
        update tasks set steered_by = (
            select coalesce(array_agg(distinct one), '{}') from unnest(
                t.steered_by || (select p.steered_by from tasks p where p.id = t.parent_id)) one) where id = p_task;
    end if;
    v_ready := case when t.status = 'paused' then 'infinity' else v_now end;
    if p_priority = 'interrupt' then
        -- The worker's answer will find its fence lost: an attempt that is not charged.
        with turns as (
            update steps set status = 'ready', worker_id = null, deadline_at = null, attempt = greatest(attempt - 1, 0),
                   ready_at = v_ready
             where task_id = p_task and status = 'running' and kind in ('plan', 'think') and not cancel_asked returning n)
        select coalesce(array_agg(n), '{}') into stopped from turns;
    end if;
    with freed as (
        update steps set status = 'ready', ready_at = v_ready, woken = woken or (kind = 'wait' and waits_key is distinct from p_name)
         where task_id = p_task and status = 'waiting' and waits_for is distinct from 'budget'
           and (waits_key = p_name or p_priority = 'wake' or p_priority = 'interrupt' and stopped = '{}') returning n)
    select coalesce(array_agg(n), '{}') into roused from freed;
    if p_priority = 'wake' or p_priority = 'interrupt' and stopped = '{}' then
        update steps set woken = true where task_id = p_task and status = 'running' and kind = 'wait';
    end if;
    if p_turn is not null and t.kind = 'plan' then
        select case when bool_or(n = any (stopped)) then 'coming' when bool_or(status = 'running') then 'running'
                    when count(*) > 0 then 'coming' else 'added' end into v_turn
          from steps where task_id = p_task and outcome is null and kind in ('plan', 'think');
        if v_turn = 'added' then perform add_turn(p_task, p_turn); end if;
    end if;
    perform settle(p_task);
    return jsonb_build_object('kind', 'sent', 'status', t.status, 'interrupted', to_jsonb(stopped), 'woken', to_jsonb(roused),
                              'turn', v_turn);
end $$;

-- An event for whoever waits for its name. Answers whether it is new.
create function signal_all_v1(p_name text, p_body jsonb, p_origin text, p_sender bigint, p_dedup text) returns boolean
language plpgsql as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('signal:' || p_name, 0));
    insert into signals (stream, scope, priority, name, body, origin, sender_id, dedup)
    values ('external', 'global', 'normal', p_name, p_body, p_origin, p_sender, p_dedup) on conflict (dedup) do nothing;
    return found;
end $$;

-- ---------------------------------------------------------------- a turn's commit

-- complete_v1 together with what the step has read. A turn after which nobody would read what people said meanwhile is
-- followed by another one.
create function complete_reading_v1(
    p_worker bigint, p_task bigint, p_n integer, p_fence bigint, p_result jsonb, p_added jsonb, p_claim boolean,
    p_read bigint[], p_turn jsonb, out ok boolean, out freed integer, out next claimed_step
) language plpgsql as $$
declare
    me      steps;
    v_last  integer;
    v_needs jsonb;
    v_added jsonb := p_added;
    done    record;
begin
    perform 1 from tasks where id = p_task for update;
    select * into me from steps where task_id = p_task and n = p_n;
    if me.kind in ('plan', 'think')
       and not exists (select from jsonb_array_elements(coalesce(p_added, '[]')) a where a.value ->> 'kind' in ('plan', 'think'))
       and not exists (select from steps where task_id = p_task and n <> p_n and outcome is null and kind in ('plan', 'think'))
       and exists (select from signals g where g.task_id = p_task and g.stream = 'task_input' and g.priority <> 'low'
                      and not g.id = any (p_read) and not exists (
                          select from signal_reads r where r.task_id = p_task and r.signal_id = g.id and r.by_turn)) then
        select greatest(max(s.n), (select max((a.value ->> 'n')::integer) from jsonb_array_elements(coalesce(p_added, '[]')) a)),
               coalesce(jsonb_agg(s.n) filter (where s.outcome is null), '[]')
          into v_last, v_needs from steps s where s.task_id = p_task;
        v_needs := v_needs || (select coalesce(jsonb_agg(a.value -> 'n'), '[]') from jsonb_array_elements(coalesce(p_added, '[]')) a);
        v_added := coalesce(p_added, '[]') || jsonb_build_array(p_turn || jsonb_build_object('n', v_last + 1, 'needs', v_needs));
    end if;
    select * into done from complete_v1(p_worker, p_task, p_n, p_fence, p_result, v_added, p_claim);
    ok := done.ok;
    freed := done.freed;
    next := done.next;
    if ok then
        perform mark_read(p_task, p_n, p_read, me.kind in ('plan', 'think'));
    end if;
end $$;

-- ---------------------------------------------------------------- child tasks

-- A child of the task, started by the running step; the same step starts it once. It acts for the same person, with no more
-- rights: who steered the parent, its deadline, lane and priority go along. Answers {kind: spawned | stale | refused, task, why}.
create function spawn_v1(
    p_worker bigint, p_task bigint, p_n integer, p_fence bigint, p_goal text, p_kind text, p_steps jsonb, p_origin text,
    p_words text, p_depth_most integer, p_children_most integer
) returns jsonb language plpgsql as $$
declare
    t       tasks;
    s       steps;
    v_key   text;
    v_child bigint;
    v_depth integer;
begin
    select * into t from tasks where id = p_task for update;
    select * into s from steps where task_id = p_task and n = p_n and fence = p_fence and status = 'running'
       and worker_id = p_worker;
    if not found then return jsonb_build_object('kind', 'stale'); end if;
    v_key := 'sayso:' || p_task || ':' || p_n || ':' || s.gen;
    select id into v_child from tasks where requester_id = t.requester_id and idempotency_key = v_key;
    if v_child is not null then return jsonb_build_object('kind', 'spawned', 'task', v_child::text); end if;
    if t.status = 'cancelling' then
        return jsonb_build_object('kind', 'refused', 'why', 'the task is being stopped');
    end if;
    with recursive above as (
        select t.parent_id as id union all select p.parent_id from above a join tasks p on p.id = a.id)
    select count(*) into v_depth from above where id is not null;
    if v_depth >= p_depth_most then
        return jsonb_build_object('kind', 'refused', 'why', 'tasks may be nested ' || p_depth_most || ' deep, not deeper');
    end if;
    if (select count(*) from tasks where parent_id = p_task and kind <> 'aside') >= p_children_most then
        return jsonb_build_object('kind', 'refused', 'why', 'a task may have ' || p_children_most || ' children, not more');
    end if;
    -- Without a card of its own: the parent's card shows the step.
    v_child := create_task_v1(null, null, t.requester_id, p_goal, p_kind, p_steps, t.lane, t.priority, v_key, p_task,
                              'task:' || p_task);
    update tasks set conversation_id = t.conversation_id, steered_by = t.steered_by, ends_by = t.ends_by where id = v_child;
    if p_words <> '' then
        insert into signals (stream, scope, task_id, priority, name, body, origin)
        values ('task_input', 'task/' || v_child, v_child, 'normal', 'goal', jsonb_build_object('text', p_words), p_origin);
    end if;
    if t.status = 'paused' then
        perform pause_v1(v_child, 'task:' || p_task);
    end if;
    return jsonb_build_object('kind', 'spawned', 'task', v_child::text);
end $$;

create function tell_parent() returns trigger language plpgsql as $$
begin
    insert into signals (stream, scope, task_id, priority, name, body, origin, dedup)
    select case when new.status = 'succeeded' then 'task_output' else 'errors' end, 'task/' || p.id, p.id, 'normal',
           'child:' || new.id, jsonb_build_object('task', new.id::text, 'goal', new.goal, 'status', new.status,
                                                  'result', new.result, 'error', new.error),
           'untrusted', 'child:' || new.id || ':' || new.version
      from tasks p where p.id = new.parent_id and p.finished_at is null
    on conflict (dedup) do nothing;
    return null;
end $$;

create trigger child_ends after update of status on tasks for each row
    when (new.parent_id is not null and new.finished_at is not null and old.finished_at is null)
    execute function tell_parent();

-- Children of what was stopped or given up, which go on without it.
create function forsaken_v1() returns setof bigint language plpgsql stable as $$
begin
    return query
    select c.id from tasks c join tasks p on p.id = c.parent_id
     where c.parent_id is not null and c.finished_at is null and c.status <> 'cancelling'
       and p.status in ('cancelling', 'cancelled', 'abandoned') limit 500;
end $$;

-- ---------------------------------------------------------------- deadlines

-- A step's time begins when it could first run. Those whose time begins or is over:
create function clocks_v1() returns table (task_id bigint, n integer) language plpgsql stable as $$
begin
    return query
    select s.task_id, s.n from steps s join tasks t on t.id = s.task_id
     where s.within_s is not null and s.outcome is null and t.status not in ('paused', 'cancelling')
       and (s.ends_by is null and s.status <> 'blocked'
            or s.ends_by <= sayso_now() and s.status in ('ready', 'waiting', 'awaiting_approval')) limit 500;
end $$;

create function end_late(p_task bigint, s steps, p_error text) returns void language plpgsql as $$
begin
    update steps set status = case when s.status in ('blocked', 'ready') then 'skipped' else 'failed' end, outcome = 'expired',
           error = p_error, waits_for = null, finished_at = sayso_now()
     where task_id = p_task and n = s.n;
end $$;

create function heed_clock_v1(p_task bigint, p_n integer) returns boolean language plpgsql as $$
declare
    t   tasks;
    s   steps;
begin
    perform act_as('sweeper', 'its deadline passed');
    select * into t from tasks where id = p_task for update;
    select * into s from steps where task_id = p_task and n = p_n for update;
    if s.outcome is not null or t.status in ('paused', 'cancelling') then return false; end if;
    if s.ends_by is null then
        update steps set ends_by = sayso_now() + make_interval(secs => s.within_s)
         where task_id = p_task and n = p_n and status <> 'blocked';
        return false;
    end if;
    if s.ends_by > sayso_now() or s.status not in ('ready', 'waiting', 'awaiting_approval') then return false; end if;
    perform withdraw_asks(p_task, array[p_n], 'It was not done by its deadline.');
    perform end_late(p_task, s, 'It was not done by its deadline.');
    perform free_dependents(p_task, p_n, s.dependents, false, false);
    perform settle(p_task);
    return true;
end $$;

create function overdue_v1() returns setof bigint language plpgsql stable as $$
begin
    return query
    select t.id from tasks t
     where t.ends_by <= sayso_now() and t.ends_by is not null and t.finished_at is null
       and t.status not in ('paused', 'cancelling')
       and exists (select from steps s where s.task_id = t.id
                      and s.status in ('blocked', 'ready', 'waiting', 'awaiting_approval')) limit 500;
end $$;

-- Nothing new begins; what runs is let finish, what is unknown still wants its answer.
create function end_overdue_v1(p_task bigint) returns boolean language plpgsql as $$
declare
    t   tasks;
    s   steps;
    v_late  constant text := 'The deadline of the task passed before it was done.';
    did     boolean := false;
begin
    perform act_as('sweeper', 'the deadline of the task passed');
    select * into t from tasks where id = p_task for update;
    if t.ends_by is null or t.ends_by > sayso_now() or t.finished_at is not null or t.status in ('paused', 'cancelling') then
        return false;
    end if;
    perform 1 from steps where task_id = p_task and outcome is null order by n for update;
    perform withdraw_asks(p_task, array(select x.n from steps x where x.task_id = p_task
                                           and x.status in ('blocked', 'ready', 'waiting', 'awaiting_approval')), v_late);
    for s in select * from steps where task_id = p_task and status in ('blocked', 'ready', 'waiting', 'awaiting_approval')
              order by n loop
        perform end_late(p_task, s, v_late);
        did := true;
    end loop;
    if did then
        perform settle(p_task);
    end if;
    return did;
end $$;

-- ---------------------------------------------------------------- priority

-- 0 urgent, 1 high, 2 normal, 3 low; urgent work has a lane with slots of its own. Answers the task's status.
create function set_priority_v1(p_task bigint, p_priority smallint, p_actor text) returns text language plpgsql as $$
declare
    t       tasks;
    v_lane  text;
begin
    select * into t from tasks where id = p_task for update;
    if not found or t.finished_at is not null then return t.status; end if;
    v_lane := case when p_priority = 0 then 'urgent' when t.lane = 'urgent' then 'default' else t.lane end;
    update tasks set priority = p_priority, lane = v_lane where id = p_task;
    update steps set priority = p_priority, lane = v_lane where task_id = p_task and outcome is null;
    insert into audit (kind, actor, task_id, data)
    values ('priority', p_actor, p_task, jsonb_build_object('from', t.priority, 'to', p_priority));
    return t.status;
end $$;

-- ---------------------------------------------------------------- upkeep

-- Global events that nobody waited for in time; those of a task go with the task.
create function forget_signals_v1(p_kept_s real) returns integer language plpgsql as $$
declare
    gone    integer;
begin
    delete from signals where task_id is null and sent_at < sayso_now() - make_interval(secs => p_kept_s);
    get diagnostics gone = row_count;
    return gone;
end $$;
