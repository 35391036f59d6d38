"""The worker: claims steps from Postgres, thinks, runs skills, and writes each outcome in one commit."""
