-- What comes with messages: files, images, voices. Their bytes live here, so that whichever machine runs the task has them.
--
-- The message commits with a row each, in state `wanted`; a bot fetches the bytes (`here`), or says why not (`refused` for
-- good, `lost` after its tries). A voice is over only when a worker has heard it. `due_at` is when somebody should look at the
-- row again: whoever claims it moves it on by a lease, and it is null once nothing is left to be done.

create table attachments (
    id          bigint generated always as identity primary key,
    inbound_id  bigint not null references inbound on delete cascade,
    n           integer not null,
    task_id     bigint references tasks on delete set null,
    channel     text not null,
    ref         text not null,
    name        text not null,
    mime        text not null,
    size        bigint,
    kind        text not null check (kind in ('file', 'voice', 'image')),
    is_own      boolean not null,
    album       text not null,
    state       text not null check (state in ('wanted', 'here', 'refused', 'lost')),
    why         text not null default '',
    content     bytea,
    words       text,
    tries       integer not null default 0,
    due_at      timestamptz default now(),
    created_at  timestamptz not null default sayso_now(),
    settled_at  timestamptz,
    unique (inbound_id, n),
    check ((state = 'here') = (content is not null or words is not null))
);
-- Most of it is compressed already.
alter table attachments alter column content set storage external;
create index attachments_due on attachments (due_at) where due_at is not null;
create index attachments_task on attachments (task_id) where task_id is not null;

-- Messages that are spoken and not yet heard: what is needed to answer them once they are.
create table unheard (
    inbound_id      bigint primary key references inbound on delete cascade,
    answers_to      text not null,
    is_addressed    boolean not null
);
