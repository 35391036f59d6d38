-- The housekeeper's moves: what is over is put away, and nothing grows for ever.
--
-- `upkeep` has one row a job: whoever finds it due moves `due_at` on and does the round, so exactly one process does, over
-- restarts, and a frozen one holds nothing. A finished task is put into `archived_tasks` whole, as one document, and leaves the
-- tables that the engine works on; months of the archive are dropped as whole partitions. `audit` is never pruned.

-- ---------------------------------------------------------------- jobs

-- `cursor` is how far a walk over a table has come, 0 at its beginning; `did` is what the last round did.
create table upkeep (
    job     text primary key,
    due_at  timestamptz not null default now(),
    cursor  bigint not null default 0,
    did     jsonb not null default '{}',
    ran_at  timestamptz
) with (fillfactor = 50);
insert into upkeep (job) values ('archive'), ('archive months'), ('outbox'), ('inbound'), ('llm_calls'), ('leftovers');

-- ---------------------------------------------------------------- archive

-- `doc` = {table: [rows]}, read back with jsonb_populate_record, so that columns added later are simply null.
create table archived_tasks (
    task_id         bigint not null,
    requester_id    bigint not null,
    conversation_id bigint,
    archived_at     timestamptz not null default sayso_now(),
    doc             jsonb not null
) partition by range (archived_at);
create index archived_tasks_task on archived_tasks (task_id);

-- A task leaves with all that hangs on it: without these each deletion would read the whole of the other table.
create index approvals_task on approvals (task_id);
create index decisions_approval on decisions (approval_id);
create index outbox_card on outbox (card_id) where card_id is not null;
create index tasks_inbound on tasks (inbound_id) where inbound_id is not null;
create index late_evidence_task on late_evidence (task_id);

-- A permission outlives the task and the card that it came from: it keeps their numbers, which the archive still knows.
alter table grants drop constraint grants_task_id_fkey, drop constraint grants_approval_id_fkey;

-- The partition of a month, made when it is not there.
create function ensure_archive_month_v1(p_at timestamptz) returns text language plpgsql as $$
declare
    first_day   date := date_trunc('month', p_at at time zone 'UTC');
    name        text := 'archived_tasks_' || to_char(first_day, 'YYYY_MM');
begin
    if to_regclass(name) is null then
        execute format('create table if not exists %I partition of archived_tasks for values from (%L) to (%L)', name,
                       first_day::text || ' 00:00:00+00', (first_day + interval '1 month')::date::text || ' 00:00:00+00');
    end if;
    return name;
end $$;

-- Drops the months that ended before `p_before`; answers their names.
create function drop_archive_months_v1(p_before timestamptz) returns text[] language plpgsql as $$
declare
    part    record;
    dropped text[] := '{}';
begin
    for part in select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
                 where i.inhparent = 'archived_tasks'::regclass order by c.relname loop
        if to_date(right(part.relname, 7), 'YYYY_MM') + interval '1 month' <= p_before at time zone 'UTC' then
            execute format('drop table %I', part.relname);
            dropped := dropped || part.relname::text;
        end if;
    end loop;
    return dropped;
end $$;

-- Why a task stays where it is; null when it may go. A question, a card on its way or a relative still open hold it.
create function stays(t tasks, p_before timestamptz) returns text language plpgsql stable as $$
begin
    return case
        when t.finished_at is null then 'open'
        when t.finished_at >= p_before then 'young'
        when exists (select from steps s where s.task_id = t.id and s.outcome is null) then 'step'
        when exists (select from effects e where e.task_id = t.id and e.state in ('intent', 'unknown')) then 'unknown'
        when exists (select from approvals a where a.task_id = t.id
                        and (a.status = 'pending' or a.status = 'approved' and a.expires_at > sayso_now())) then 'approval'
        when exists (select from tasks c where c.parent_id = t.id) then 'child'
        when exists (select from tasks p where p.id = t.parent_id and p.finished_at is null) then 'parent'
        when exists (select from outbox o join cards c on c.id = o.card_id
                      where c.task_id = t.id and o.status in ('pending', 'sending', 'unknown')) then 'card'
        when exists (select from outbox o where o.status in ('pending', 'sending', 'unknown') and o.conversation_id = t.conversation_id
                        and o.body ->> 'task' = t.id::text) then 'card'
    end;
end $$;

-- Puts one finished task away, or answers why not ('refers': a row elsewhere still needs it). Children go before their parent.
create function archive_task_v1(p_task bigint, p_before timestamptz) returns text language plpgsql as $$
declare
    t   tasks;
    why text;
begin
    select * into t from tasks where id = p_task for update skip locked;
    if not found then return 'busy'; end if;
    why := stays(t, p_before);
    if why is not null then return why; end if;
    begin
        insert into archived_tasks (task_id, requester_id, conversation_id, doc)
        select t.id, t.requester_id, t.conversation_id, jsonb_build_object(
            'tasks', jsonb_build_array(to_jsonb(t)),
            'steps', (select jsonb_agg(to_jsonb(x) order by x.n) from steps x where x.task_id = p_task),
            'approvals', (select jsonb_agg(to_jsonb(x) order by x.created_at) from approvals x where x.task_id = p_task),
            'decisions', (select jsonb_agg(to_jsonb(x) order by x.id) from decisions x join approvals a on a.id = x.approval_id
                           where a.task_id = p_task),
            'questions', (select jsonb_agg(to_jsonb(x) order by x.id) from questions x join approvals a on a.id = x.approval_id
                           where a.task_id = p_task),
            'delegations', (select jsonb_agg(to_jsonb(x) order by x.id) from delegations x join approvals a on a.id = x.approval_id
                             where a.task_id = p_task),
            'rungs', (select jsonb_agg(to_jsonb(x) order by x.approval_id, x.n) from rungs x
                        join approvals a on a.id = x.approval_id where a.task_id = p_task),
            'asks', (select jsonb_agg(to_jsonb(x) order by x.id) from asks x
                       join approvals a on a.id = x.approval_id where a.task_id = p_task),
            'approval_opens', (select jsonb_agg(to_jsonb(x)) from approval_opens x
                                 join approvals a on a.id = x.approval_id where a.task_id = p_task),
            'sms_codes', (select jsonb_agg(to_jsonb(x) order by x.id) from sms_codes x
                            join approvals a on a.id = x.approval_id where a.task_id = p_task),
            'failed_deliveries', (select jsonb_agg(to_jsonb(x) order by x.id) from failed_deliveries x
                                    join approvals a on a.id = x.approval_id where a.task_id = p_task),
            'effects', (select jsonb_agg(to_jsonb(x) order by x.n, x.gen) from effects x where x.task_id = p_task),
            'inbound', (select jsonb_agg(to_jsonb(x) order by x.id) from inbound x where x.task_id = p_task or x.id = t.inbound_id),
            'attachments', (select jsonb_agg(to_jsonb(x) - 'content' order by x.id) from attachments x where x.task_id = p_task),
            'events', (select jsonb_agg(to_jsonb(x) order by x.xid, x.id) from events x where x.task_id = p_task),
            'signals', (select jsonb_agg(to_jsonb(x) order by x.id) from signals x where x.task_id = p_task),
            'signal_reads', (select jsonb_agg(to_jsonb(x)) from signal_reads x where x.task_id = p_task),
            'row_versions', (select jsonb_agg(to_jsonb(x) order by x.n, x.version) from row_versions x where x.task_id = p_task),
            'late_evidence', (select jsonb_agg(to_jsonb(x) order by x.id) from late_evidence x where x.task_id = p_task));
        delete from moves where task_id = p_task;
        delete from late_evidence where task_id = p_task;
        delete from answers where task_id = p_task;
        delete from attachments where task_id = p_task;
        delete from tasks where id = p_task;
        delete from inbound i where (i.task_id = p_task or i.id = t.inbound_id) and i.received_at < p_before
           and not exists (select from tasks o where o.inbound_id = i.id);
    exception when foreign_key_violation then
        return 'refers';
    end;
    return 'archived';
end $$;

-- One window of the walk over tasks, in order of id: what in it is over and old is put away. `at_end`: younger ones began.
create function archive_v1(p_after bigint, p_window integer, p_before timestamptz,
                           out last bigint, out at_end boolean, out archived integer, out held jsonb) language plpgsql as $$
declare
    t    record;
    why  text;
    seen integer := 0;
begin
    archived := 0;
    held := '{}';
    last := p_after;
    perform ensure_archive_month_v1(sayso_now());
    for t in select x.id, x.created_at, x.finished_at from tasks x where x.id > p_after order by x.id limit p_window loop
        last := t.id;
        exit when t.created_at >= p_before;
        seen := seen + 1;
        if t.finished_at < p_before then
            why := archive_task_v1(t.id, p_before);
            if why = 'archived' then
                archived := archived + 1;
            else
                held := held || jsonb_build_object(why, coalesce((held ->> why)::integer, 0) + 1);
            end if;
        end if;
    end loop;
    at_end := seen < p_window;
end $$;

-- ---------------------------------------------------------------- vacuum

-- Steps, effects, approvals and cards change several times a life: vacuumed after a small share of dead rows, and with a
-- threshold that a small installation also reaches.
alter table approvals set (autovacuum_vacuum_scale_factor = 0.05);
alter table effects set (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
alter table cards set (autovacuum_vacuum_scale_factor = 0.05);
-- Written once and read at the end: insert-driven vacuums keep the visibility map fresh, and archiving deletes from them in bulk.
alter table moves set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1);
alter table inbound set (autovacuum_vacuum_scale_factor = 0.05);
-- What a worker can do, in short: two workers that differ are a finding of doctor.
alter table workers add column skills_hash text not null default '';
-- A handful of rows, each updated every few seconds: room for updates in place, and a vacuum that does not wait for fifty dead ones.
alter table workers set (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100);

-- ---------------------------------------------------------------- figures

-- What all processes counted and timed: each adds what it saw since its last time, so a figure outlives its worker.
-- `amounts`: for a duration its buckets from the lowest and then the sum of seconds, for a counter the count.
create table measures (
    name    text not null,
    labels  text not null,
    amounts float8[] not null,
    primary key (name, labels)
) with (fillfactor = 50);

-- `p_amounts` is a list of lists, in the order of the names: arrays of arrays would have to be of one length.
create function add_measures_v1(p_names text[], p_labels text[], p_amounts jsonb) returns void language plpgsql as $$
begin
    insert into measures as m (name, labels, amounts)
    select p_names[i], p_labels[i], array(select v::float8 from jsonb_array_elements_text(p_amounts -> (i - 1)) v)
      from generate_subscripts(p_names, 1) i order by i
    on conflict (name, labels) do update set amounts = array(
        select coalesce(a, 0) + coalesce(b, 0) from unnest(m.amounts, excluded.amounts) with ordinality u (a, b, i) order by i);
end $$;

-- Alert rules of sayso.yaml as they stand: since when the condition holds, since when it was told, since when it is over.
create table alerts (
    key         text primary key,
    since       timestamptz,
    fired_at    timestamptz,
    clear_since timestamptz,
    seen_at     timestamptz not null default now()
) with (fillfactor = 50);
insert into upkeep (job) values ('alerts');

create index outbox_dead on outbox (created_at) where status = 'dead';

-- ---------------------------------------------------------------- rows that cannot be read

-- Whether it can be told who may decide. Where it can't, nobody may: what is unreadable never approves.
create function approvers_readable(p jsonb) returns boolean language plpgsql immutable as $$
begin
    return coalesce(jsonb_typeof(p) = 'object'
        and coalesce(jsonb_typeof(p -> 'people'), 'array') = 'array'
        and coalesce(jsonb_typeof(p -> 'roles'), 'array') = 'array'
        and coalesce(jsonb_typeof(p -> 'four_eyes'), 'boolean') = 'boolean'
        and coalesce(jsonb_typeof(p -> 'veto'), 'boolean') = 'boolean'
        and case when jsonb_typeof(p -> 'needed') = 'number' then (p ->> 'needed')::numeric >= 1 end, false);
end $$;

-- Pending approvals that nobody could read or decide: the steps end unapproved with the reason, and is said; a question about
-- an unknown effect is asked anew instead, since only a probe or a person may end that. Answers the tasks.
create function quarantine_approvals_v1(p_limit integer) returns setof bigint language plpgsql as $$
declare
    found_  record;
    t       tasks;
    a       approvals;
    v_n     integer;
    why     constant text := 'Quarantined: the row of its approval cannot be read. Nothing was run; ask for it again.';
begin
    for found_ in select x.id, x.task_id, x.n from approvals x
                   where x.status in ('pending', 'approved') and x.status = 'pending'
                     and not (approvers_readable(x.approvers) and jsonb_typeof(x.items) = 'array' and jsonb_typeof(x.card) = 'object')
                   order by x.task_id desc limit p_limit loop     -- a child's end waits for its parent
        perform act_as('upkeep', why);
        select * into t from tasks where id = found_.task_id for update;
        perform 1 from steps where task_id = found_.task_id and (n = found_.n or approval_id = found_.id) order by n for update;
        select * into a from approvals where id = found_.id for update;
        if a.status is distinct from 'pending' then continue; end if;
        insert into audit (kind, actor, task_id, approval_id, data)
        values ('quarantine', 'upkeep', a.task_id, a.id, jsonb_build_object('step', a.n, 'row', to_jsonb(a)));
        if a.kind = 'unknown' then
            update approvals set status = 'superseded', reason = why where id = a.id;
            perform ask_unknown(a.task_id, a.n, 'The question that was asked before could not be read any more.');
        else
            update approvals set status = 'undeliverable', reason = why where id = a.id;
            -- All that wait for it: of a plan that is the step that asks, and what was planned is left out with it.
            for v_n in select n from steps where task_id = a.task_id and approval_id = a.id and status = 'awaiting_approval'
                        order by n desc loop
                perform end_parked_step(a.task_id, v_n, 'failed', 'undeliverable', why, t.status = 'paused');
            end loop;
        end if;
        perform settle(a.task_id);
        return next a.task_id;
    end loop;
end $$;
insert into upkeep (job) values ('quarantine');

-- What doctor lists.
create index steps_quarantined on steps (finished_at) where status = 'failed' and error like 'Quarantined:%';
