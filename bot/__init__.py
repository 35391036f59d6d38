"""What people talk to: the web, the chats and the courier. Translates; decides nothing."""
