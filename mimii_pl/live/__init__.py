"""Listen to machines as they run: sources, states, alarms, events, and the page that shows them."""
