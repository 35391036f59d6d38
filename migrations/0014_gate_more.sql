-- What else the gate looks at: whether a skill is still the one that a card was made for, and a plan that is approved whole.

-- ---------------------------------------------------------------- drift before the press

-- Whether a skill that some item calls has been published since with another version or schema. A skill that no worker has
-- published is judged by the worker, when the action begins.
create function skills_drifted(p_items jsonb) returns boolean language plpgsql stable as $$
begin
    return exists (
        select from jsonb_array_elements(p_items) i, lateral (
            select k.version, k.manifest ->> 'schema_hash' as schema_hash from skills k
             where k.name = i -> 'action' ->> 'skill' order by k.seen_at desc, k.version desc limit 1) newest
         where (newest.version, newest.schema_hash) is distinct from (i -> 'action' ->> 'version', i -> 'action' ->> 'schema_hash'));
end $$;

-- A yes to what would not run any more is not counted: the card is void at once, and the steps go through the gate again,
-- which writes a fresh one. The caller holds the locks of the task, its steps and the approval.
create function void_if_drifted(p_a approvals, p_t tasks) returns boolean language plpgsql as $$
declare
    why text := 'the skill has changed since this was asked';
begin
    if p_a.kind not in ('action', 'batch', 'plan') or not skills_drifted(p_a.items) then return false; end if;
    update approvals set status = 'superseded', reason = why where id = p_a.id;
    perform ask_anew(p_a, p_t);
    insert into audit (kind, actor, task_id, approval_id, data)
    values ('void', setting('sayso.actor'), p_a.task_id, p_a.id, jsonb_build_object('why', why));
    perform settle(p_a.task_id);
    return true;
end $$;

-- ---------------------------------------------------------------- a new card

-- The steps that waited for a void approval go through the gate again; those of a plan whose turn has not come forget it.
create function ask_anew(p_a approvals, p_t tasks) returns void language plpgsql as $$
begin
    update steps set approval_id = null where task_id = p_a.task_id and approval_id = p_a.id and status = 'blocked';
    update steps set status = 'ready', waits_for = null, approval_id = null,
           ready_at = case when p_t.status = 'paused' then 'infinity' else sayso_now() end
     where task_id = p_a.task_id and approval_id = p_a.id and status = 'awaiting_approval';
end $$;

-- ---------------------------------------------------------------- a plan approved before any of it runs

-- The step that asks for the plan that these items are of, while it waits; it goes on with the first of them that is approved.
create function plan_step_of(p_a approvals) returns integer language plpgsql stable as $$
begin
    if p_a.kind <> 'plan' then return null; end if;
    return (
        select g.n from steps g where g.task_id = p_a.task_id and g.kind = 'ask' and g.status = 'awaiting_approval'
           and exists (select from steps s join jsonb_array_elements(p_a.items) i on s.n = (i ->> 'step')::integer
                        where s.task_id = p_a.task_id and g.n = any (s.needs)) limit 1);
end $$;
