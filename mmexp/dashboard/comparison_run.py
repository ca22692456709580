NAME = "00-comparison"
