//! Faults of the network, of clocks and of disks in a cluster whose parts are on machines of their own.

mod clocks;
mod cuts;
mod disks;
mod servers;
mod slow;
