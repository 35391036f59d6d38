-- Links by which people bring a chat account of theirs, who our bots are, and groups that get a new id.

-- A link is a token of its own kind: whoever opens it is that person, or is to be confirmed as them. `conversation_id` is where
-- it was asked for, and where its end is told.
alter table tokens
    drop constraint tokens_kind_check,
    add constraint tokens_kind_check check (kind in ('api', 'login', 'session', 'link')),
    add column conversation_id bigint references conversations;

-- What a vendor calls our bot, for links to it that are made in another chat.
create table bots (
    channel         text primary key,
    username        text not null,
    seen_at         timestamptz not null default now()
);

-- A group became another one, with a new id and none of its messages: conversations follow, and cards that still wait for
-- somebody or still change are posted anew, since the old ones can't be edited from there. Answers how many conversations
-- moved; where people spoke in the new group before this came, that one's row stays and the old one is left behind.
create function conversation_moved_v1(p_channel text, p_from text, p_to text) returns integer language plpgsql as $$
declare
    moved   bigint[];
begin
    with here as (
        update conversations c set external_id = p_to
         where c.channel = p_channel and c.external_id = p_from
           and not exists (select from conversations n where n.channel = p_channel and n.external_id = p_to and n.thread = c.thread)
        returning c.id)
    select coalesce(array_agg(id), '{}') into moved from here;
    with anew as (
        update cards k set provider_ref = null, wanted = k.wanted + 1
          from tasks t where t.id = k.task_id and k.conversation_id = any (moved) and k.provider_ref is not null
           and case when k.subject = 'task' then t.status not in ('succeeded', 'failed', 'abandoned', 'cancelled')
                    else exists (select from approvals a where a.id = k.approval_id and a.status = 'pending') end
        returning k.id, k.conversation_id)
    insert into outbox (conversation_id, card_id, kind) select conversation_id, id, 'card' from anew order by id
    on conflict (card_id) where status = 'pending' and card_id is not null do update set kind = excluded.kind where false;
    return cardinality(moved);
end $$;
