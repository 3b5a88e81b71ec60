"""Schedules of steps, searched for a spectrum, a precision and measured costs."""
