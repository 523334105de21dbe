"""The expected quality of each of many models' answers, learned from outcomes; needs numpy."""
