-- The log of who asked, who decided, what was carried out and what came of it.
--
-- Rows are written where the thing happens, in the same commit. One writer gives them numbers and hashes in the order of
-- their commits, within a second (core/audit.py). Apart from that no row is ever changed and none is taken away: the
-- trigger below refuses it, and a role that is granted only the use of these tables cannot even try.

create function audit_is_kept() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' then
        if old.seq is null and new.seq is not null and old.hash is null
           and (to_jsonb(new) - array['seq', 'prev_hash', 'hash']) = (to_jsonb(old) - array['seq', 'prev_hash', 'hash']) then
            return new;
        end if;
    end if;
    raise exception 'the audit log is only ever appended to' using errcode = 'SY003';
end $$;
create trigger audit_kept before update or delete on audit for each row execute function audit_is_kept();
create trigger audit_not_emptied before truncate on audit for each statement execute function audit_is_kept();

-- ---------------------------------------------------------------- what is written down beside the moves

create function audit_effect() returns trigger language plpgsql as $$
begin
    insert into audit (kind, actor, task_id, approval_id, data)
    values ('outcome', setting('sayso.actor'), new.task_id, new.approval_id,
            jsonb_build_object('step', new.n, 'key', new.key, 'state', new.state));
    return null;
end $$;
create trigger effect_audited after update of state on effects for each row
    when (old.state is distinct from new.state and new.state <> 'intent') execute function audit_effect();

create function audit_refusal() returns trigger language plpgsql as $$
begin
    insert into audit (kind, actor, task_id, data)
    values ('refusal', setting('sayso.actor'), new.task_id,
            jsonb_build_object('step', new.n, 'skill', new.skill, 'why', left(new.error, 500)));
    return null;
end $$;
create trigger step_refusal_audited after update of outcome on steps for each row
    when (new.outcome = 'refused' and old.outcome is distinct from 'refused') execute function audit_refusal();

create function audit_approval_end() returns trigger language plpgsql as $$
begin
    insert into audit (kind, actor, task_id, approval_id, data)
    values (new.status, setting('sayso.actor'), new.task_id, new.id, jsonb_build_object('why', setting('sayso.why')));
    return null;
end $$;
create trigger approval_end_audited after update of status on approvals for each row
    when (old.status is distinct from new.status and new.status in ('expired', 'superseded', 'undeliverable'))
    execute function audit_approval_end();

create function audit_grant() returns trigger language plpgsql as $$
begin
    insert into audit (kind, actor, task_id, data)
    values (case when tg_op = 'INSERT' then 'grant' else 'revoke' end, setting('sayso.actor'), new.task_id,
            jsonb_build_object('grant', new.id, 'skill', new.skill, 'args', new.args, 'owner', new.owner_id,
                               'expires_at', new.expires_at, 'uses_left', new.uses_left));
    return null;
end $$;
create trigger grant_audited after insert on grants for each row execute function audit_grant();
create trigger revocation_audited after update of revoked_at on grants for each row
    when (old.revoked_at is null and new.revoked_at is not null) execute function audit_grant();

create function audit_rights() returns trigger language plpgsql as $$
begin
    insert into audit (kind, actor, data)
    values ('rights', setting('sayso.actor'),
            jsonb_build_object('person', new.key, 'roles', new.roles, 'active', new.is_active, 'service', new.is_service));
    return null;
end $$;
create trigger rights_given_audited after insert on principals for each row execute function audit_rights();
create trigger rights_audited after update on principals for each row
    when ((old.roles, old.is_active, old.is_service) is distinct from (new.roles, new.is_active, new.is_service))
    execute function audit_rights();

-- ---------------------------------------------------------------- a role that may use, not rewrite

-- Everything that bot and worker need, for a role that does not own the tables. Run by `sayso migrate --grant-to ROLE`.
create function grant_use(p_role text) returns void language plpgsql as $$
begin
    execute format('grant usage on schema public to %I', p_role);
    execute format('grant select, insert, update, delete on all tables in schema public to %I', p_role);
    execute format('grant usage, select on all sequences in schema public to %I', p_role);
    execute format('revoke insert, update, delete on schema_migrations from %I', p_role);
    execute format('revoke update, delete on audit from %I', p_role);
    execute format('grant update (seq, prev_hash, hash) on audit to %I', p_role);
end $$;
