"""The processes of a venue and of its watchers: sequencer, batcher, follower, challenger."""
