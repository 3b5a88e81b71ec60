"""The methods behind ``funm_multiply``: each takes a task and answers with an error estimate."""
