"""What happened, in order, durably: the event log and the recording folder."""
