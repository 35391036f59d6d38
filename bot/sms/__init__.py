"""SMS by Twilio: the last rung of the ladder, where a phone answers with a code."""
