-- Who may decide, in whose place, and what each answer does.
--
-- A decision is one commit: who may, which card, still pending, one vote a person, the step ready, the cards stale. All
-- compare-and-set on the pending row: of many simultaneous presses one decides and the others are told who did. What a
-- card names never changes under its id: a batch, a split, a merge or an edit makes a new approval, and the chat's
-- message is edited to show it, so a press on what was shown before decides nothing.
-- Locks: the voter's principal (shared), then the task, its steps, the approval. Linking takes the principal first too.

-- ---------------------------------------------------------------- people

-- One who is out of office, or who hands one approval on. Rights never exceed the giver's: the vote is for their seat.
create table delegations (
    id              bigint generated always as identity primary key,
    from_id         bigint not null references principals,
    to_id           bigint not null references principals,
    approval_id     uuid references approvals on delete cascade,
    until           timestamptz not null,
    is_from_config  boolean not null default false,
    revoked_at      timestamptz,
    created_at      timestamptz not null default sayso_now(),
    check (from_id <> to_id),
    check (approval_id is not null or until <= created_at + interval '92 days')
);
create unique index delegations_one on delegations (from_id, approval_id) nulls not distinct where revoked_at is null;
create index delegations_to on delegations (to_id) where revoked_at is null;

create function votes() returns text[] language plpgsql immutable as $$
begin
    return array['approve', 'approve_similar', 'grant', 'answer', 'deny', 'happened', 'not_happened', 'abandon'];
end $$;

-- The verdicts that an approval takes: core/state.py VERDICTS_OF, and a test compares the two.
create function verdicts_of(p_kind text) returns text[] language plpgsql immutable as $$
begin
    return case p_kind
        when 'action' then array['approve', 'approve_similar', 'grant', 'deny', 'edit', 'delegate', 'looking', 'ask', 'stop']
        when 'unknown' then array['happened', 'not_happened', 'abandon', 'delegate', 'looking', 'ask', 'stop']
        when 'question' then array['approve', 'answer', 'deny', 'delegate', 'looking', 'stop']
        when 'budget' then array['approve', 'deny', 'delegate', 'looking', 'ask', 'stop']
        else array['approve', 'deny', 'edit', 'delegate', 'looking', 'ask', 'stop'] end;
end $$;

-- Out of office: somebody decides from one's seat, at most 92 days ahead. Whoever did before does no more.
create function away_v1(p_from bigint, p_to bigint, p_until timestamptz, p_is_from_config boolean) returns void language plpgsql as $$
declare
    one     bigint := person_of(p_from);
    other   bigint := person_of(p_to);
begin
    update delegations set revoked_at = sayso_now() where from_id = one and approval_id is null and revoked_at is null;
    insert into delegations (from_id, to_id, until, is_from_config)
    values (one, other, least(p_until, sayso_now() + interval '92 days'), p_is_from_config);
    insert into audit (kind, actor, data)
    values ('away', 'person:' || (select key from principals where id = one),
            jsonb_build_object('to', (select key from principals where id = other), 'until', p_until));
end $$;

create function back_v1(p_person bigint) returns boolean language plpgsql as $$
begin
    update delegations set revoked_at = sayso_now() where from_id = person_of(p_person) and approval_id is null and revoked_at is null;
    if not found then return false; end if;
    insert into audit (kind, actor) values ('back', 'person:' || (select key from principals where id = person_of(p_person)));
    return true;
end $$;

-- What sayso.yaml says now; what a person said in a chat is theirs and stays. Unchanged lines change nothing.
create function away_from_file(p_from text[], p_to text[], p_until timestamptz[]) returns void language plpgsql as $$
declare
    w   record;
begin
    update delegations d set revoked_at = sayso_now()
     where d.is_from_config and d.revoked_at is null and not exists (
        select from unnest(p_from, p_to) f (k, t) join principals a on a.key = f.k join principals b on b.key = f.t
         where a.id = d.from_id and b.id = d.to_id);
    for w in select a.id as a, b.id as b, f.u from unnest(p_from, p_to, p_until) f (k, t, u)
               join principals a on a.key = f.k join principals b on b.key = f.t
              where f.u > sayso_now() and a.id <> b.id and not exists (
                select from delegations d where d.from_id = a.id and d.approval_id is null and d.revoked_at is null
                   and (not d.is_from_config or d.to_id = b.id and d.until = least(f.u, d.created_at + interval '92 days')))
    loop
        perform away_v1(w.a, w.b, w.u, true);
    end loop;
end $$;

-- Whose right a person would use: their own, or that of somebody who delegated to them, over at most two hands. Null: none.
-- A seat that nobody has voted from comes first. Through whoever may not decide this (who left, and with four eyes who asked)
-- nothing is handed on. `p_approval` null: only those who are out of office count.
create function seat_for(p_principal bigint, p_approval uuid, p_approvers jsonb, p_requester bigint) returns bigint
language plpgsql stable as $$
declare
    me  bigint := person_of(p_principal);
begin
    if is_eligible(me, p_approvers, p_requester) then return me; end if;
    if is_barred(me, p_approvers, p_requester) then return null; end if;
    return (
        with recursive givers (id, hands) as (
            select d.from_id, 1 from delegations d
             where d.to_id = me and d.revoked_at is null and d.until > sayso_now()
               and (d.approval_id is null or d.approval_id = p_approval)
            union
            select d.from_id, g.hands + 1 from givers g join delegations d on d.to_id = g.id
             where g.hands < 2 and not is_barred(g.id, p_approvers, p_requester) and d.revoked_at is null and d.until > sayso_now()
               and (d.approval_id is null or d.approval_id = p_approval))
        select g.id from givers g where is_eligible(g.id, p_approvers, p_requester)
         order by exists (select from decisions x where x.approval_id = p_approval and x.seat_id = g.id
                             and x.principal_id <> me and x.verdict = any (votes())), g.hands, g.id limit 1);
end $$;

create function seat_of(p_principal bigint, p_a approvals) returns bigint language plpgsql stable as $$
begin
    return seat_for(p_principal, p_a.id, p_a.approvers, p_a.requester_id);
end $$;

-- An identity that moves to another person takes its human along. One whom sayso.yaml does not name was that human all
-- the time: the two become one, their votes are counted anew by person, and nothing is decided by it. Of a person who
-- stays somebody else, the votes that came through that channel are withdrawn.
create function link_v1(p_was bigint, p_now bigint, p_channel text) returns void language plpgsql as $$
declare
    one     bigint := person_of(p_now);
    is_same boolean;
    v_task  bigint;
    d       decisions;
    other   decisions;
begin
    select not p.is_from_config and not p.is_service and p.id <> one into is_same from principals p where p.id = p_was for update;
    if not is_same and p_was = one then return; end if;
    if is_same then
        update principals set same_as = one, version = version + 1 where id = p_was or same_as = p_was;
    end if;
    for v_task in
        select distinct a.task_id from approvals a join decisions x on x.approval_id = a.id
         where a.status in ('pending', 'approved') and x.principal_id = p_was and x.verdict = any (votes())
         order by a.task_id desc        -- a child's end waits for its parent
    loop
        perform 1 from tasks where id = v_task for update;
        for d in
            select x.* from decisions x join approvals a on a.id = x.approval_id
             where a.task_id = v_task and a.status in ('pending', 'approved') and x.principal_id = p_was
               and x.verdict = any (votes()) order by x.id for update of x
        loop
            if not is_same then
                update decisions set verdict = 'withdrawn' where id = d.id and channel = p_channel;
                continue;
            end if;
            select * into other from decisions x where x.approval_id = d.approval_id and x.verdict = any (votes())
               and x.id <> d.id and (x.principal_id = one or x.seat_id = case when d.seat_id = p_was then one else d.seat_id end)
             limit 1;
            if other.id is not null and d.verdict in ('deny', 'abandon') then     -- the stricter of the two stands
                update decisions set verdict = 'withdrawn' where id = other.id;
            end if;
            update decisions set principal_id = one, seat_id = case when seat_id = p_was then one else seat_id end,
                   verdict = case when other.id is not null and d.verdict not in ('deny', 'abandon') then 'withdrawn' else verdict end
             where id = d.id;
        end loop;
        perform touch_cards(v_task);
    end loop;
    if is_same then
        update tokens set principal_id = one where principal_id = p_was;     -- who is removed later is removed with all of them
        delete from delegations where (from_id = p_was and to_id = one) or (from_id = one and to_id = p_was);
        update delegations set to_id = one where to_id = p_was;
        update delegations x set from_id = one where from_id = p_was and not exists (
            select from delegations y where y.from_id = one and y.approval_id is not distinct from x.approval_id and y.revoked_at is null);
        update grants set owner_id = one where owner_id = p_was;
        update grants set holder_id = one where holder_id = p_was;
    end if;
    insert into audit (kind, actor, data)
    values ('recount', setting('sayso.actor'), jsonb_build_object('from', (select key from principals where id = p_was),
            'to', (select key from principals where id = one), 'channel', p_channel, 'is_same', is_same));
end $$;

create function identity_moved() returns trigger language plpgsql as $$
begin
    if new.principal_id <> old.principal_id then
        perform link_v1(old.principal_id, new.principal_id, new.channel);
    end if;
    return new;
end $$;

create trigger identity_moves after update of principal_id on identities for each row execute function identity_moved();

create index approvals_merged on approvals (merged_into) where merged_into is not null and status = 'pending';
create index approvals_same on approvals (action_hash) where status = 'pending' and action_hash <> '';

-- ---------------------------------------------------------------- several actions on one card

-- As core/digest.py list_digest; of one item its own.
create function digest_of(p_items jsonb) returns text language plpgsql immutable as $$
declare
    found   text[];
begin
    select array_agg(e ->> 'digest' order by i) into found from jsonb_array_elements(p_items) with ordinality x (e, i);
    if array_length(found, 1) = 1 then return found[1]; end if;
    return encode(sha256(convert_to('["' || array_to_string(found, '","') || '"]', 'utf8')), 'hex');
end $$;

-- What the card says beside the items: of one item its own; of several the sum, so that nothing to beware of is lost.
create function card_of(p_items jsonb) returns jsonb language plpgsql immutable as $$
declare
    size    integer := jsonb_array_length(p_items);
    risks   text[] := array['low', 'medium', 'high', 'critical'];
begin
    if size = 1 then return p_items -> 0 -> 'card'; end if;
    return (
        select jsonb_build_object(
            'title', case when count(distinct e ->> 'action_hash') = 1 and e0 ->> 'action_hash' <> ''
                          then (e0 -> 'card' ->> 'title') || ' (' || size || ' tasks)' else size || ' actions' end,
            'reasons', (select coalesce(jsonb_agg(distinct r), '[]') from jsonb_array_elements(p_items) y (e), jsonb_array_elements(y.e -> 'card' -> 'reasons') r),
            'provenance', (select coalesce(jsonb_agg(distinct r), '[]') from jsonb_array_elements(p_items) y (e), jsonb_array_elements(coalesce(y.e -> 'card' -> 'provenance', '[]')) r),
            'risk', risks[max(coalesce(array_position(risks, e -> 'card' ->> 'risk'), 3))],
            'rule', string_agg(distinct coalesce(e -> 'card' ->> 'rule', ''), ', '),
            'destructive', bool_or(coalesce((e -> 'card' ->> 'destructive')::boolean, false)),
            'undo', bool_and(coalesce((e -> 'card' ->> 'undo')::boolean, false)),
            'preview', '')
          from jsonb_array_elements(p_items) x (e), lateral (select p_items -> 0) f (e0) group by e0);
end $$;

-- A new approval in place of an old one, for these items. The old one must not be pending any more.
create function reissue(p_old approvals, p_items jsonb, p_kind text) returns uuid language plpgsql as $$
declare
    made    uuid;
    hashes  text[];
begin
    select array_agg(distinct coalesce(e ->> 'action_hash', '')) into hashes from jsonb_array_elements(p_items) e;
    insert into approvals (kind, task_id, n, gen, items, digest, action_hash, card, approvers, requester_id, ladder, status,
                           expires_at, held_until, created_at)
    select case when jsonb_array_length(p_items) = 1 and p_kind <> 'plan' then 'action' else p_kind end, p_old.task_id, min((e ->> 'step')::integer),
           p_old.gen, p_items, digest_of(p_items), case when array_length(hashes, 1) = 1 then hashes[1] else '' end,
           card_of(p_items), p_old.approvers, p_old.requester_id, p_old.ladder, 'pending', p_old.expires_at, p_old.held_until,
           p_old.created_at
      from jsonb_array_elements(p_items) e where e ->> 'task' = p_old.task_id::text
    returning id into made;
    update steps set status = status, approval_id = made
     where task_id = p_old.task_id and approval_id = p_old.id and outcome is null
       and n in (select (e ->> 'step')::integer from jsonb_array_elements(p_items) e where e ->> 'task' = p_old.task_id::text);
    return made;
end $$;

-- The chat's messages of one card show another from now on.
create function retarget_cards(p_from uuid, p_to uuid) returns void language plpgsql as $$
begin
    update cards c set approval_id = p_to, task_id = (select task_id from approvals where id = p_to)
     where c.approval_id = p_from and not exists (
        select from cards k where k.approval_id = p_to and k.conversation_id = c.conversation_id);
end $$;

-- Of a card with several items, those with these digests on a card of their own. Answers it; the same when all are chosen,
-- null when none of this task is.
create function split_v1(p_a approvals, p_digests jsonb) returns uuid language plpgsql as $$
declare
    chosen  jsonb;
    rest    jsonb;
    made    uuid;
    left_   uuid;
    place   bigint;
begin
    select jsonb_agg(e order by i) filter (where p_digests ? (e ->> 'digest')),
           jsonb_agg(e order by i) filter (where not p_digests ? (e ->> 'digest') and e ->> 'task' = p_a.task_id::text)
      into chosen, rest from jsonb_array_elements(p_a.items) with ordinality x (e, i);
    if chosen is null or not chosen @> jsonb_build_array(jsonb_build_object('task', p_a.task_id::text)) then return null; end if;
    if jsonb_array_length(chosen) = jsonb_array_length(p_a.items) then return p_a.id; end if;
    update approvals set status = 'superseded', reason = 'some of it is decided apart' where id = p_a.id;
    made := reissue(p_a, chosen, p_a.kind);
    update approvals f set merged_into = made
     where f.merged_into = p_a.id and f.status = 'pending' and p_digests ? f.digest;
    if rest is not null then
        left_ := reissue(p_a, rest, p_a.kind);
        update steps set status = status, approval_id = left_      -- the step that asks for a plan goes on asking for the rest
         where task_id = p_a.task_id and approval_id = p_a.id and status = 'awaiting_approval' and kind = 'ask';
        for place in select k.conversation_id from cards k join conversations v on v.id = k.conversation_id
                      where k.approval_id = p_a.id and v.channel <> 'sms' order by k.id loop
            perform place_card('approval', p_a.task_id, left_, place);
        end loop;
    end if;
    perform retarget_cards(p_a.id, made);
    return made;
end $$;

-- These steps want no answer any more. What is asked about others of the task on the same card goes on, on a card of theirs;
-- a yes that others still need stays. A question about an unknown effect is not withdrawn. The caller holds the locks.
create function withdraw_asks(p_task bigint, p_ns integer[], p_why text) returns void language plpgsql as $$
declare
    a       approvals;
    rest    jsonb;
    made    uuid;
begin
    for a in select x.* from approvals x
              where x.task_id = p_task and x.status in ('pending', 'approved') and x.kind <> 'unknown'
                and exists (select from steps s where s.task_id = p_task and s.n = any (p_ns) and s.outcome is null and s.approval_id = x.id)
              order by x.n for update loop
        select jsonb_agg(e order by i) into rest
          from jsonb_array_elements(case when jsonb_typeof(a.items) = 'array' then whole_items(a) else '[]' end) with ordinality x (e, i)
         where e ->> 'task' = p_task::text
           and exists (select from steps s where s.task_id = p_task and s.n::text = e ->> 'step' and not s.n = any (p_ns)
                          and s.outcome is null and s.approval_id = a.id);
        if exists (select from steps s where s.task_id = p_task and s.approval_id = a.id and s.kind = 'ask' and s.n = any (p_ns)) then
            rest := null;       -- nobody asks for the plan any more
        end if;
        continue when a.kind = 'budget' and exists (select from steps s where s.task_id = p_task and s.approval_id = a.id
                                                       and s.outcome is null and not s.n = any (p_ns));
        if a.status = 'approved' then
            if rest is null then
                perform end_yes(array[a.id], p_why);
            end if;
            continue;
        end if;
        update approvals set status = case when rest is null then 'cancelled' else 'superseded' end, reason = p_why where id = a.id;
        if rest is not null then
            made := reissue(a, rest, a.kind);
            update steps set status = status, approval_id = made      -- the step that asks for a plan goes on asking for the rest
             where task_id = p_task and approval_id = a.id and status = 'awaiting_approval' and kind = 'ask';
            perform retarget_cards(a.id, made);
        end if;
    end loop;
end $$;

-- The same ask of two tasks on one card: `p_follower` is decided where `p_leader` is. Each keeps its own consumption. The
-- card that names both is a new one. Answers it, or null when the two no longer fit.
create function merge_v1(p_leader uuid, p_follower uuid) returns uuid language plpgsql as $$
declare
    l       approvals;
    f       approvals;
    made    uuid;
begin
    perform act_as('gate', 'the same was asked twice');
    perform 1 from tasks where id = (select task_id from approvals where id = p_leader) for update;
    select * into l from approvals where id = p_leader for update;
    select * into f from approvals where id = p_follower for update;
    if l.status is distinct from 'pending' or f.status is distinct from 'pending' or l.task_id = f.task_id
       or (l.created_at, l.id) >= (f.created_at, f.id) or l.merged_into is not null or f.merged_into is not null
       or l.kind not in ('action', 'batch') or f.kind <> 'action' or l.action_hash = '' or l.action_hash <> f.action_hash
       or person_of(l.requester_id) <> person_of(f.requester_id) or l.approvers <> f.approvers or l.approvers ? 'editors'
       or l.expires_at <= sayso_now() or jsonb_array_length(l.items) >= 20
       or exists (select from decisions d where d.approval_id in (l.id, f.id))
       or exists (select from approvals x where x.merged_into = f.id and x.status = 'pending') then
        return null;
    end if;
    update approvals set status = 'superseded', reason = 'joined with the same ask of another task' where id = l.id;
    made := reissue(l, whole_items(l) || whole_items(f), 'batch');
    update approvals set merged_into = made where (id = f.id or merged_into = l.id) and status = 'pending';
    perform retarget_cards(l.id, made);
    -- A card of its own that nobody has seen yet is not needed.
    delete from cards c where c.approval_id = f.id and c.provider_ref is null
       and exists (select from cards k where k.approval_id = made and k.conversation_id = c.conversation_id)
       and not exists (select from outbox o where o.card_id = c.id and o.status <> 'pending');
    insert into audit (kind, actor, task_id, approval_id, data)
    values ('merge', 'gate', l.task_id, made, jsonb_build_object('task', f.task_id, 'approval', f.id));
    perform touch_cards(l.task_id);
    return made;
end $$;

-- What was decided on the card that a merged ask is on, for the ask itself: a commit of its own, harmless when repeated.
create function follow_v1(p_follower uuid) returns boolean language plpgsql as $$
declare
    v_task  bigint;
    t       tasks;
    f       approvals;
    m       approvals;
begin
    select task_id into v_task from approvals where id = p_follower;
    select * into t from tasks where id = v_task for update;
    perform 1 from steps where task_id = v_task and approval_id = p_follower order by n for update;
    select * into f from approvals where id = p_follower for update;
    if f.status is distinct from 'pending' or f.merged_into is null then return false; end if;
    select * into m from approvals where id = f.merged_into;
    if m.status = 'pending' then return false; end if;
    if f.expires_at <= sayso_now() then return expire_v1(p_follower); end if;
    perform act_as('person:' || coalesce((select key from principals where id = m.decided_by), ''), 'decided on the card of task ' || m.task_id);
    if m.status in ('approved', 'consumed', 'denied')
       and m.items @> jsonb_build_array(jsonb_build_object('task', v_task::text, 'step', f.n, 'digest', f.digest)) then
        insert into decisions (approval_id, principal_id, seat_id, verdict, reason, channel, delivery_id, decided_at)
        select f.id, d.principal_id, d.seat_id, d.verdict, d.reason, d.channel, d.delivery_id, d.decided_at
          from decisions d where d.approval_id = m.id and d.verdict = any (votes()) order by d.id;
        perform conclude(f, t, case when m.status = 'denied' then 'denied' else 'approved' end, m.decided_by, m.reason);
    else
        update approvals set merged_into = null where id = f.id;
        if t.conversation_id is not null then
            perform place_card('approval', v_task, f.id, t.conversation_id);
        end if;
        perform touch_cards(v_task);
    end if;
    return true;
end $$;

-- ---------------------------------------------------------------- what follows a decision

-- The steps of an approval that ended without a yes; of a plan also those whose turn had not come.
create function end_asked_steps(p_a approvals, p_status text, p_outcome text, p_error text, p_paused boolean)
returns void language plpgsql as $$
declare
    v_n integer;
begin
    for v_n in select n from steps where task_id = p_a.task_id and approval_id = p_a.id
                  and (status in ('awaiting_approval', 'unknown') or p_a.kind = 'plan' and status in ('blocked', 'ready'))
                order by kind = 'ask', n desc       -- a step is denied, not left out for the sake of one before it
    loop
        perform end_parked_step(p_a.task_id, v_n, p_status, p_outcome, p_error, p_paused);
    end loop;
end $$;

-- Approved or denied: the row, its steps, the task. The caller holds the locks.
create function conclude(p_a approvals, p_t tasks, p_status text, p_by bigint, p_reason text) returns void language plpgsql as $$
declare
    woken   integer;
begin
    update approvals set status = p_status, decided_by = p_by, decided_at = sayso_now(), reason = p_reason where id = p_a.id;
    if p_status = 'denied' then
        perform end_asked_steps(p_a, 'skipped', 'denied', 'Denied' || case when p_reason <> '' then ': ' || p_reason else '.' end,
                                p_t.status = 'paused');
    else
        update steps set status = 'ready', waits_for = null,
               ready_at = case when p_t.status = 'paused' then 'infinity' else sayso_now() end
         where task_id = p_a.task_id and status = 'awaiting_approval' and (approval_id = p_a.id or n = plan_step_of(p_a));
        get diagnostics woken = row_count;
        if woken = 0 and p_a.kind <> 'plan' then
            raise exception 'approval % is pending but its step does not wait for it', p_a.id;
        end if;
    end if;
    perform settle(p_a.task_id);
end $$;

-- ---------------------------------------------------------------- decide

-- Answers {kind: accepted | already | not_allowed | invalid | too_late | changed | not_found | duplicate, status, task_id, by, at, …};
-- what was accepted also says whether asks of other tasks follow it (`leads`).
-- `p_more` by verdict: items (digests of a card's items that are meant), to (a person's key), args, origins, title (an edit),
-- grant (see give_grant), text and can_answer (a question to the agent).
create function decide_v1(
    p_principal bigint, p_approval uuid, p_verdict text, p_digest text, p_reason text, p_channel text, p_delivery text,
    p_more jsonb default '{}'
) returns jsonb language plpgsql as $$
declare
    me      bigint;
    seat    bigint;
    v_task  bigint;
    v_actor text;
    v_card  uuid := p_approval;
    t       tasks;
    a       approvals;
    why     text;
begin
    perform 1 from principals where id = p_principal for share;     -- nobody is linked to somebody else meanwhile
    me := person_of(p_principal);
    select task_id into v_task from approvals where id = p_approval;
    select 'person:' || key into v_actor from principals where id = me;
    if v_task is null or v_actor is null then return jsonb_build_object('kind', 'not_found'); end if;
    insert into inbound (channel, delivery_id, kind, principal_id, body, task_id)
    values (p_channel, p_delivery, 'press', p_principal, p_verdict, v_task) on conflict do nothing;
    if not found then
        return jsonb_build_object('kind', 'duplicate') || approval_state(p_approval);
    end if;
    perform act_as(v_actor, p_verdict || case when p_reason <> '' then ': ' || p_reason else '' end);
    select * into t from tasks where id = v_task for update;
    perform 1 from steps where task_id = v_task and approval_id = p_approval order by n for update;
    select * into a from approvals where id = p_approval for update;
    if not p_verdict = any (verdicts_of(a.kind)) then
        return invalid('this is answered with ' || array_to_string(verdicts_of(a.kind), ', '));
    end if;
    seat := seat_of(me, a);
    if seat is null and not (p_verdict in ('stop', 'edit') and me = person_of(t.requester_id)
                             and (p_verdict = 'stop' or not (select is_service from principals where id = me))) then
        insert into audit (kind, actor, task_id, approval_id, data)
        values ('refused', v_actor, v_task, p_approval, jsonb_build_object('verdict', p_verdict, 'channel', p_channel));
        return not_allowed('you are not among those who may decide this') || jsonb_build_object('approvers', a.approvers);
    end if;
    if a.status <> 'pending' then
        return jsonb_build_object('kind', 'already') || approval_state(p_approval);
    end if;
    if seat is not null and group_seat_is_stale(seat, a.approvers, a.requester_id)
       and not (p_verdict in ('stop', 'edit') and me = person_of(t.requester_id)) then
        insert into audit (kind, actor, task_id, approval_id, data)
        values ('refused', v_actor, v_task, p_approval, jsonb_build_object('verdict', p_verdict, 'channel', p_channel, 'why', 'group'));
        return not_allowed('Slack could not be asked just now whether you are in the group that decides this; try again in a moment');
    end if;
    if a.kind <> 'unknown' and a.expires_at <= sayso_now() then
        perform expire_v1(p_approval);
        return jsonb_build_object('kind', 'too_late', 'at', a.expires_at) || approval_state(p_approval);
    end if;
    if a.merged_into is not null or (p_digest is not null and p_digest <> a.digest) then
        return jsonb_build_object('kind', 'changed') || approval_state(p_approval);
    end if;
    if p_verdict = any (yes_verdicts()) and void_if_drifted(a, t) then
        return jsonb_build_object('kind', 'changed') || approval_state(p_approval);
    end if;
    why := refusal_of(a, t, me, seat, p_verdict, p_more);
    if why is not null then return invalid(why); end if;
    if p_verdict = 'edit' and a.kind = 'plan' and p_more ? 'items' then      -- the whole plan is asked about anew after it
        select coalesce(jsonb_agg(e), '[]') into a.items from jsonb_array_elements(a.items) e where p_more -> 'items' ? (e ->> 'digest');
        if a.items = '[]' then return invalid('choose among the items of this card'); end if;
    elsif p_more ? 'items' and p_verdict in ('approve', 'deny', 'edit') then
        p_approval := split_v1(a, p_more -> 'items');
        if p_approval is null then return invalid('choose among the items of this card'); end if;
        select * into a from approvals where id = p_approval for update;
    end if;
    if p_verdict = 'edit' and jsonb_array_length(a.items) > 1 then
        return invalid('choose the one item that you want to edit');
    end if;
    case p_verdict
        when 'looking' then perform look_v1(a, me, p_channel, p_delivery);
        when 'delegate' then perform hand_on(a, me, p_more ->> 'to', p_channel, p_delivery);
        when 'ask' then perform ask_agent(a, t, me, p_more, p_channel, p_delivery);
        when 'edit' then perform edit_v1(a, t, me, p_more, p_channel, p_delivery);
        when 'stop' then
            insert into decisions (approval_id, principal_id, seat_id, verdict, reason, channel, delivery_id)
            values (a.id, me, seat, p_verdict, p_reason, p_channel, p_delivery);
            insert into audit (kind, actor, task_id, approval_id, data)
            values ('vote', v_actor, v_task, a.id, jsonb_build_object('verdict', p_verdict, 'reason', p_reason, 'channel', p_channel));
            if a.kind <> 'unknown' then    -- the task waits for the answer to that, so the question stays
                update approvals set status = 'cancelled', decided_by = me, decided_at = sayso_now(), reason = p_reason where id = a.id;
            end if;
            perform cancel_v1(v_task, v_actor, case when p_reason <> '' then p_reason else 'stopped from the card' end);
        else
            why := vote_v1(a, t, me, seat, p_verdict, p_reason, p_channel, p_delivery, p_more);
            if why <> '' then return not_allowed(why); end if;
    end case;
    return approval_state(a.id) || jsonb_build_object('kind', 'accepted', 'leads', exists (
        select from approvals f where f.merged_into in (v_card, a.id) and f.status = 'pending'));
end $$;

create function not_allowed(p_why text) returns jsonb language plpgsql immutable as $$
begin
    return jsonb_build_object('kind', 'not_allowed', 'why', p_why);
end $$;

create function invalid(p_why text) returns jsonb language plpgsql immutable as $$
begin
    return jsonb_build_object('kind', 'invalid', 'why', p_why);
end $$;

-- Why this answer cannot be given here, for reasons that are not the voter's; null when it can. Nothing is written yet.
create function refusal_of(p_a approvals, p_t tasks, p_me bigint, p_seat bigint, p_verdict text, p_more jsonb) returns text
language plpgsql stable as $$
declare
    v_to    bigint;
begin
    if p_verdict in ('approve_similar', 'grant') then
        if (p_a.approvers ->> 'needed')::integer > 1 or coalesce((p_a.approvers ->> 'four_eyes')::boolean, false)
           or p_a.card ->> 'risk' = 'critical' then
            return 'more than this once is not possible here: such a call is asked about each time';
        elsif jsonb_array_length(coalesce(p_a.card -> 'provenance', '[]')) > 0 then
            return 'more than this once is not possible here: part of it was not chosen by the person who asked';
        elsif p_more -> 'grant' is null then
            return 'it is not said what the permission would cover';
        end if;
    elsif p_verdict = 'delegate' then
        select person_of(id) into v_to from principals where key = p_more ->> 'to' and is_active;
        if v_to is null then return 'there is nobody called ' || coalesce(p_more ->> 'to', 'that'); end if;
        if v_to = p_me then return 'that is you'; end if;
        if is_barred(v_to, p_a.approvers, p_a.requester_id) then return 'they may not decide this: a service, or one who asked for it or edited it'; end if;
        if is_eligible(v_to, p_a.approvers, p_a.requester_id) then return 'they may decide this anyway'; end if;
        if exists (select from decisions d where d.approval_id = p_a.id and d.verdict = any (votes())
                      and (d.principal_id = p_me or d.seat_id = p_seat)) then
            return 'your vote is given already';
        end if;
        if p_seat <> p_me then
            if exists (select from delegations d where d.from_id = v_to and d.revoked_at is null and d.until > sayso_now()
                          and (d.approval_id is null or d.approval_id = p_a.id)) then
                return 'it would go round in a circle';
            end if;
            if not exists (select from delegations d where d.from_id = p_seat and d.to_id = p_me and d.revoked_at is null
                              and d.until > sayso_now() and (d.approval_id is null or d.approval_id = p_a.id)) then
                return 'it has gone through two hands already; that is as far as it goes';
            end if;
        end if;
    elsif p_verdict = 'ask' then
        if coalesce(p_more ->> 'text', '') = '' then return 'there is no question'; end if;
        if (select count(*) from questions q where q.approval_id = p_a.id) >= 5 then
            return 'five questions were asked about this already';
        end if;
    elsif p_verdict = 'edit' then
        if p_more -> 'args' is null then return 'it is not said what to change'; end if;
        if p_t.status = 'cancelling' then return 'the task is being stopped'; end if;
    elsif p_verdict = 'answer' and coalesce(p_more ->> 'text', '') = '' then
        return 'there is no answer';
    end if;
    return null;
end $$;

-- One vote: '' when it is counted (or stood already), else why not. The first vote of a person stands, but a no replaces a
-- yes; who stands in for somebody does not vote beside them, but the holder of the seat may still say no.
create function vote_v1(
    p_a approvals, p_t tasks, p_me bigint, p_seat bigint, p_verdict text, p_reason text, p_channel text, p_delivery text, p_more jsonb
) returns text language plpgsql as $$
declare
    is_no   boolean := p_verdict in ('deny', 'abandon');
    v_actor text := setting('sayso.actor');
    v_said  text := case when p_verdict = 'answer' then p_more ->> 'text' else p_reason end;
    mine    decisions;
    other   decisions;
    after   text := 'pending';
begin
    select * into mine from decisions d where d.approval_id = p_a.id and d.principal_id = p_me and d.verdict = any (votes());
    select * into other from decisions d where d.approval_id = p_a.id and d.principal_id <> p_me and d.seat_id = p_seat
       and d.verdict = any (votes());
    if mine.id is not null then
        if not is_no or mine.verdict in ('deny', 'abandon') then return ''; end if;
        update decisions set verdict = p_verdict, reason = v_said, channel = p_channel, delivery_id = p_delivery,
               decided_at = sayso_now() where id = mine.id;
    else
        if other.id is not null then
            if not (is_no and p_seat = p_me) then return 'somebody has decided in this place already'; end if;
            update decisions set verdict = 'overruled' where id = other.id;
        end if;
        insert into decisions (approval_id, principal_id, seat_id, verdict, reason, channel, delivery_id)
        values (p_a.id, p_me, p_seat, p_verdict, v_said, p_channel, p_delivery);
    end if;
    insert into audit (kind, actor, task_id, approval_id, data)
    values ('vote', v_actor, p_a.task_id, p_a.id, jsonb_build_object(
            'verdict', p_verdict, 'reason', v_said, 'channel', p_channel, 'digest', p_a.digest)
            || case when p_seat <> p_me then jsonb_build_object('for', (select key from principals where id = p_seat)) else '{}' end);

    if is_no then
        after := case when p_verdict = 'abandon' or coalesce((p_a.approvers ->> 'veto')::boolean, true) then 'denied' else 'pending' end;
    elsif votes_for(p_a, case when p_a.kind = 'unknown' then array[p_verdict] else yes_verdicts() end)
          >= (p_a.approvers ->> 'needed')::integer then
        after := 'approved';
    end if;
    if after = 'pending' then
        perform touch_cards(p_a.task_id);
    elsif p_a.kind = 'unknown' then
        update approvals set status = after, decided_by = p_me, decided_at = sayso_now(), reason = v_said where id = p_a.id;
        perform answer_unknown(p_a, p_t, p_verdict);
        perform settle(p_a.task_id);
    else
        perform conclude(p_a, p_t, after, p_me, v_said);
        if after = 'approved' and p_verdict in ('approve_similar', 'grant') then
            perform give_grant(p_me, p_a.requester_id, p_a, p_verdict, p_more -> 'grant');
        end if;
    end if;
    return '';
end $$;

-- What a person says of an action of which it was not known whether it had happened.
create function answer_unknown(p_a approvals, p_t tasks, p_verdict text) returns void language plpgsql as $$
declare
    v_actor text := setting('sayso.actor');
begin
    if p_verdict = 'happened' then
        update approvals set status = 'consumed' where id = p_a.id;
        perform resolve_step(p_a.task_id, p_a.n, true, jsonb_build_object('confirmed_by', v_actor,
                'summary', 'A person says that it happened.'), null, p_t.status = 'paused');
    elsif p_verdict = 'abandon' then
        perform end_parked_step(p_a.task_id, p_a.n, 'failed', 'given_up', 'Given up: it is not known whether it happened.',
                                p_t.status = 'paused');
    elsif p_t.status = 'cancelling' then     -- nothing runs again in a task that is being stopped
        update effects e set state = 'not_done', resolved_at = now(), evidence = jsonb_build_object('said_by', v_actor)
         where e.task_id = p_a.task_id and e.n = p_a.n and e.state = 'unknown';
        perform end_parked_step(p_a.task_id, p_a.n, 'cancelled', 'cancelled', 'It did not happen; the task was stopped.', false);
    else
        perform resolve_step(p_a.task_id, p_a.n, false, jsonb_build_object('said_by', v_actor), p_a.id, p_t.status = 'paused');
    end if;
end $$;

create function approval_state(p_approval uuid) returns jsonb language plpgsql stable as $$
begin
    return (select jsonb_build_object(
                'approval_id', a.id, 'status', a.status, 'task_id', a.task_id, 'n', a.n, 'by', coalesce(p.name, ''),
                'decided_at', a.decided_at, 'reason', a.reason, 'decisions', votes_of(a.id))
              from approvals a left join principals p on p.id = a.decided_by where a.id = p_approval);
end $$;

-- The timeline: every answer in order, with whose seat it was given from.
create function votes_of(p_approval uuid) returns jsonb language plpgsql stable as $$
begin
    return coalesce((
        select jsonb_agg(jsonb_build_object('by', q.name, 'key', q.key, 'verdict', d.verdict, 'reason', d.reason,
                                            'channel', d.channel, 'at', d.decided_at)
                         || case when d.seat_id <> d.principal_id then jsonb_build_object('for', s.name) else '{}' end order by d.id)
          from decisions d join principals q on q.id = d.principal_id left join principals s on s.id = d.seat_id
         where d.approval_id = p_approval), '[]');
end $$;

-- ---------------------------------------------------------------- answers that are no vote

-- The ladder waits up to 15 minutes, once per person; the deadline does not.
create function look_v1(p_a approvals, p_me bigint, p_channel text, p_delivery text) returns void language plpgsql as $$
begin
    insert into decisions (approval_id, principal_id, verdict, channel, delivery_id)
    values (p_a.id, p_me, 'looking', p_channel, p_delivery)
    on conflict (approval_id, principal_id) where verdict = 'looking' do nothing;
    if not found then return; end if;
    update approvals set held_until = least(expires_at, greatest(held_until, sayso_now() + interval '15 minutes')) where id = p_a.id;
    insert into audit (kind, actor, task_id, approval_id) values ('looking', setting('sayso.actor'), p_a.task_id, p_a.id);
    perform touch_cards(p_a.task_id);
end $$;

-- This one approval to somebody else, who gets its card.
create function hand_on(p_a approvals, p_me bigint, p_to text, p_channel text, p_delivery text) returns void language plpgsql as $$
declare
    v_to    bigint;
    i       identities;
    place   bigint;
begin
    select person_of(id) into v_to from principals where key = p_to;
    update delegations set revoked_at = sayso_now() where from_id = p_me and approval_id = p_a.id and revoked_at is null;
    insert into delegations (from_id, to_id, approval_id, until) values (p_me, v_to, p_a.id, p_a.expires_at);
    insert into decisions (approval_id, principal_id, verdict, reason, channel, delivery_id)
    values (p_a.id, p_me, 'delegate', (select 'to ' || coalesce(nullif(name, ''), key) from principals where id = v_to), p_channel, p_delivery);
    insert into audit (kind, actor, task_id, approval_id, data)
    values ('delegate', setting('sayso.actor'), p_a.task_id, p_a.id, jsonb_build_object('to', p_to));
    for i in select * from identities where principal_id = v_to and channel in ('slack', 'telegram') loop
        insert into conversations (channel, external_id, is_private) values (i.channel, i.external_id, true)
        on conflict (channel, external_id, thread) do update set is_private = conversations.is_private returning id into place;
        perform place_card('approval', p_a.task_id, p_a.id, place);
    end loop;
    perform touch_cards(p_a.task_id);
end $$;

-- The call as edited: the votes are void, and it goes the whole way through the gate again.
create function edit_v1(p_a approvals, p_t tasks, p_me bigint, p_more jsonb, p_channel text, p_delivery text) returns void
language plpgsql as $$
declare
    v_n integer := (p_a.items -> 0 ->> 'step')::integer;
    was jsonb;
begin
    select args into was from steps where task_id = p_a.task_id and n = v_n;
    insert into decisions (approval_id, principal_id, verdict, reason, channel, delivery_id)
    values (p_a.id, p_me, 'edit', coalesce(p_more ->> 'said', ''), p_channel, p_delivery);
    insert into audit (kind, actor, task_id, approval_id, data)
    values ('edit', setting('sayso.actor'), p_a.task_id, p_a.id,
            jsonb_build_object('step', v_n, 'digest', p_a.digest, 'before', was, 'after', p_more -> 'args'));
    update approvals set status = 'superseded', reason = 'edited by ' || (select coalesce(nullif(name, ''), key) from principals where id = p_me)
     where id = p_a.id;
    update steps set args = p_more -> 'args', origins = p_more -> 'origins', title = coalesce(p_more ->> 'title', title),
           editors = array_append(array_remove(editors, p_me), p_me)
     where task_id = p_a.task_id and n = v_n and approval_id = p_a.id
       and (status = 'awaiting_approval' or p_a.kind = 'plan' and status = 'blocked');
    if not found then
        raise exception 'approval % is pending but step % does not wait for it', p_a.id, v_n;
    end if;
    perform ask_anew(p_a, p_t);
    perform settle(p_a.task_id);
end $$;

-- Questions to the agent about a card. A side task answers (it can propose nothing); without a model the answer says so.
create table questions (
    id          bigint generated always as identity primary key,
    approval_id uuid not null references approvals on delete cascade,
    asker_id    bigint not null references principals,
    question    text not null,
    answer      text not null default '',
    task_id     bigint,
    asked_at    timestamptz not null default sayso_now()
);
create index questions_approval on questions (approval_id);
create index questions_task on questions (task_id);

create function ask_agent(p_a approvals, p_t tasks, p_me bigint, p_more jsonb, p_channel text, p_delivery text) returns void
language plpgsql as $$
declare
    aside   bigint;
begin
    insert into decisions (approval_id, principal_id, verdict, reason, channel, delivery_id)
    values (p_a.id, p_me, 'ask', p_more ->> 'text', p_channel, p_delivery);
    if coalesce((p_more ->> 'can_answer')::boolean, false) then
        aside := create_task_v1(null, null, p_me, left(p_more ->> 'text', 500), 'aside', p_more -> 'steps', p_t.lane, 1::smallint, null,
                                p_a.task_id, setting('sayso.actor'));
    end if;
    insert into questions (approval_id, asker_id, question, answer, task_id)
    values (p_a.id, p_me, p_more ->> 'text', coalesce(p_more ->> 'answer', ''), aside);
    insert into audit (kind, actor, task_id, approval_id, data)
    values ('ask', setting('sayso.actor'), p_a.task_id, p_a.id, jsonb_build_object('question', p_more ->> 'text'));
    perform touch_cards(p_a.task_id);
end $$;

-- The answer stands in the side task; the card that shows it is stale when that ends.
create function aside_ended() returns trigger language plpgsql as $$
begin
    if new.kind = 'aside' and new.parent_id is not null and new.finished_at is not null then
        perform touch_cards(new.parent_id);
    end if;
    return new;
end $$;

create trigger aside_ends after update of status on tasks for each row when (new.kind = 'aside') execute function aside_ended();

-- ---------------------------------------------------------------- grants

-- `p_grant` = {args, skill_version, schema_hash, uses, lasts_s}; `p_a` null for one that is given without an ask.
create function give_grant(p_owner bigint, p_holder bigint, p_a approvals, p_verdict text, p_grant jsonb) returns uuid language plpgsql as $$
declare
    made    uuid;
begin
    insert into grants (kind, owner_id, holder_id, skill, skill_version, schema_hash, args, task_id, uses_left, approval_id, expires_at)
    values (case when p_verdict = 'approve_similar' then 'similar' else 'always' end, p_owner, person_of(p_holder), p_grant ->> 'skill',
            p_grant ->> 'skill_version', p_grant ->> 'schema_hash', p_grant -> 'args',
            case when p_verdict = 'approve_similar' then p_a.task_id end, (p_grant ->> 'uses')::integer, p_a.id,
            sayso_now() + make_interval(secs => (p_grant ->> 'lasts_s')::double precision))
    returning id into made;
    insert into audit (kind, actor, task_id, approval_id, data)
    values ('grant', setting('sayso.actor'), p_a.task_id, p_a.id, p_grant || jsonb_build_object('grant', made));
    return made;
end $$;

-- By who gave it, whom it covers, or an owner. False: there is no such live grant for them.
create function revoke_v1(p_grant uuid, p_by bigint, p_is_owner boolean) returns boolean language plpgsql as $$
declare
    me  bigint := person_of(p_by);
begin
    update grants set revoked_at = sayso_now(), version = version + 1
     where id = p_grant and revoked_at is null and (p_is_owner or me in (person_of(owner_id), person_of(holder_id)));
    if not found then return false; end if;
    insert into audit (kind, actor, data)
    values ('revoke', 'person:' || (select key from principals where id = me), jsonb_build_object('grant', p_grant));
    return true;
end $$;

-- Whether the grant covers the call, at the moment in which it begins. core/predicate.py says the same, and a test compares.
create function grant_covers(p_grant grants, p_task bigint, p_requester bigint, p_action jsonb) returns boolean
language plpgsql stable as $$
begin
    return p_grant.revoked_at is null and p_grant.expires_at > sayso_now() and coalesce(p_grant.uses_left, 1) > 0
       and p_grant.skill = p_action ->> 'skill'
       and (p_grant.skill_version = '' or p_grant.skill_version = p_action ->> 'version')
       and (p_grant.schema_hash = '' or p_grant.schema_hash = p_action ->> 'schema_hash')
       and (p_grant.task_id is null or p_grant.task_id = p_task)
       and person_of(p_grant.holder_id) = person_of(p_requester)
       and exists (select from principals p where p.id = person_of(p_grant.owner_id) and p.is_active and not p.is_service)
       and not exists (select from jsonb_each(p_grant.args) w (name, wanted)
                        where not (p_action -> 'args' ? w.name and argument_fits(p_action -> 'args' -> w.name, w.wanted)));
end $$;

-- `{"is": x}` exactly x; `{"starts": "logs/"}` and `{"ends": "@acme.example"}` a text, or a list of which each text does.
create function argument_fits(p_value jsonb, p_wanted jsonb) returns boolean language plpgsql immutable as $$
begin
    if p_wanted ? 'is' then return p_value = p_wanted -> 'is'; end if;
    if jsonb_typeof(p_value) = 'array' then
        return jsonb_array_length(p_value) > 0 and not exists (
            select from jsonb_array_elements(p_value) e
             where jsonb_typeof(e) <> 'string' or not coalesce(argument_fits(e, p_wanted), false));
    end if;
    if jsonb_typeof(p_value) <> 'string' then return false; end if;
    if p_wanted ? 'starts' then
        return starts_with(p_value #>> '{}', p_wanted ->> 'starts') and not (p_value #>> '{}') ~ '(^|[/\\])\.\.([/\\]|$)|[\x01-\x1f\x7f\\%]';
    end if;
    return p_wanted ? 'ends' and right(p_value #>> '{}', length(p_wanted ->> 'ends')) = p_wanted ->> 'ends'
       and not (p_value #>> '{}') ~ '[\s,;<>"()]';
end $$;

alter function decide_v1 set plan_cache_mode = 'force_generic_plan';
