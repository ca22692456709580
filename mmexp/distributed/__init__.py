"""What several processes of a run do together: batches, losses, weights and turns. ranks.py comes first."""
