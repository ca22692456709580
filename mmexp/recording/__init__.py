"""What a run leaves: its folder, time, energy, figures, and what the terminal shows. record.py comes first."""
