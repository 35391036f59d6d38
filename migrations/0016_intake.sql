-- Orders by the handful.
--
-- What most messages are: somebody known spells out what is to be done, and nothing else hangs on it. Those that are there at
-- the same moment are taken in one statement, each as core/answering.py would take it alone; what is not so plain is left out
-- of the answer and goes the ordinary way, one transaction each.

-- What is published of skills: another text after any change. Orders are read by what was published.
create function skills_mark_v1() returns text language plpgsql stable as $$
begin
    return (select md5(string_agg(format('%s %s %s %s', s.name, s.version, s.hash, s.xmin), ',' order by s.name, s.version))
              from skills s);
end $$;

create index attachments_loose on attachments (inbound_id) where task_id is null;

-- `p_orders` are what core/store/orders.py writes, `place` counts them. Left out of the answer: strangers, who comes back after
-- `p_back_after_s` of silence (they are told what happened meanwhile) or has written nothing yet, who has sent files that wait
-- for words, a place that goes by another name now, and what was read by other skills than are published. Rows are looked up
-- one by one: a plan that joins would be kept from when the tables were small.
create function take_orders_v1(p_orders jsonb, p_back_after_s real, p_loose_s real)
returns table (place integer, inbound_id bigint, task_id bigint, is_new boolean) language plpgsql as $$
declare
    v_skills    text := skills_mark_v1();
    o           record;
    who         record;
    v_place     bigint;
begin
    -- Before any delivery, and in one order, as those below: two of these never wait for each other crosswise.
    insert into conversations (channel, external_id, thread, is_private, title)
    select distinct on (e.channel, e.external_id, e.thread) e.channel, e.external_id, e.thread, e.is_private, e.title
      from jsonb_to_recordset(p_orders) e (channel text, external_id text, thread text, is_private boolean, title text)
     order by e.channel, e.external_id, e.thread on conflict do nothing;
    for o in
        select * from jsonb_to_recordset(p_orders) e (
               place integer, channel text, delivery_id text, sender text, external_id text, thread text, title text, body text,
               quotes jsonb, message_ref text, goal text, kind text, steps jsonb, skills text)
         where e.skills = v_skills order by e.channel, e.delivery_id
    loop
        select p.id, p.key into who from identities i join principals p on p.id = i.principal_id
         where i.channel = o.channel and i.external_id = o.sender and p.is_active;
        continue when not found;
        select c.id into v_place from conversations c
         where c.channel = o.channel and c.external_id = o.external_id and c.thread = o.thread and o.title in ('', c.title);
        continue when not found;
        continue when p_back_after_s > 0 and not coalesce((
            select m.received_at > now() - make_interval(secs => p_back_after_s)
              from inbound m where m.principal_id = who.id order by m.id desc limit 1), false);
        continue when exists (select from attachments a join inbound m on m.id = a.inbound_id
                               where a.task_id is null and m.principal_id = who.id
                                 and m.received_at > now() - make_interval(secs => p_loose_s));
        place := o.place;
        task_id := null;
        insert into inbound (channel, delivery_id, kind, principal_id, conversation_id, body, foreign_text, message_ref)
        values (o.channel, o.delivery_id, 'message', who.id, v_place, o.body, o.quotes, o.message_ref)
        on conflict do nothing returning inbound.id into inbound_id;
        is_new := found;
        if is_new then
            task_id := create_task_v1(inbound_id, v_place, who.id, o.goal, o.kind, o.steps, 'default', 2::smallint, null, null,
                                      'person:' || who.key);
        else
            select m.id, m.task_id into inbound_id, task_id from inbound m
             where m.channel = o.channel and m.delivery_id = o.delivery_id;
        end if;
        return next;
    end loop;
end $$;
