-- A card tells how long its task took: both ends of that are told by the same clock, which a simulation moves.

alter table tasks alter column created_at set default sayso_now();
