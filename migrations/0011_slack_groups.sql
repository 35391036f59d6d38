-- What Slack said last: who is in the user groups that approve, and which state a thread's session shows.
--
-- The bot asks Slack and writes it down here; nobody else can ask. A remembered membership says whom to ask and may take
-- a yes away before the call begins, but it never makes one: a vote that rests on a group needs what Slack said about it
-- a moment ago (group_seat_is_stale, asked in decide_v1).

create table slack_groups (
    usergroup   text primary key,
    members     text[] not null default '{}',       -- external ids, as in identities
    looked_at   timestamptz,                        -- null: it changed since, or was never looked up
    error       text not null default ''            -- why the last look failed; the members are those of the one before
);

-- Only threads that Slack shows as working or waiting: of those at rest nothing has to be known.
create table slack_sessions (
    conversation_id bigint primary key references conversations on delete cascade,
    status          text not null,
    set_at          timestamptz not null default now()
);

create function in_slack_groups(p_person bigint, p_groups jsonb) returns boolean language plpgsql stable as $$
begin
    return exists (
        select from slack_groups g join identities i on i.channel = 'slack' and i.external_id = any (g.members)
         where coalesce(p_groups, '[]') ? g.usergroup and person_of(i.principal_id) = p_person);
end $$;

-- The groups among these of which nothing was heard for a quarter of a minute: who presses then has to wait for Slack.
create function stale_slack_groups(p_groups text[]) returns setof text language plpgsql stable as $$
begin
    return query
    select w.name from unnest(p_groups) as w (name)
     where not exists (select from slack_groups g
                        where g.usergroup = w.name and g.error = '' and g.looked_at > sayso_now() - interval '15 seconds');
end $$;

-- Whether a seat rests on a Slack group alone, and on none of which Slack has just said that its holder is in it.
create function group_seat_is_stale(p_seat bigint, p_approvers jsonb, p_requester bigint) returns boolean
language plpgsql stable as $$
declare
    v_groups    text[] := array(select jsonb_array_elements_text(coalesce(p_approvers -> 'slack_usergroups', '[]')));
    v_stale     text[];
begin
    if cardinality(v_groups) = 0 or is_eligible(p_seat, p_approvers - 'slack_usergroups', p_requester) then
        return false;
    end if;
    v_stale := array(select stale_slack_groups(v_groups));
    return not in_slack_groups(p_seat, (select coalesce(jsonb_agg(g), '[]') from unnest(v_groups) g where g <> all (v_stale)));
end $$;
