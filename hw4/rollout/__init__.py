"""The engine room: plays agents fast, on-policy and repeatably."""
