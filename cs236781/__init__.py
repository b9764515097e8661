"""The course's tools: notebooks run, cleared, exported and handed in. They know nothing of reinforcement learning."""
