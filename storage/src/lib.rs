//! The timeline store: a durable log of events and the timelines read from it.
