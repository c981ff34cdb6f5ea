"""What the latency benchmark times: families that no table knows, other members of known ones, and candidates."""
