"""The processes of a run from outside: started, stopped, watched, and what they ended with."""
