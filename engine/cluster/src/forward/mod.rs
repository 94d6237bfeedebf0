//! Commands on their way from their node to the leader, and answers on their way back.
//!
//! Messages between nodes can be lost, doubled, late and out of order. Both ways are therefore numbered, and what the
//! other side has not confirmed goes again ([`Lane`]). What a node forwarded has one of three ends:
//!
//! 1. A **group** answers it. The node takes the group from the stream.
//! 2. The leader's **answers** answer it: its command stored nothing, so it is in no group. They hold once the node has
//!    taken the group before the decision ([`Held`]).
//! 3. The **epoch** ends. What no group and no answers have answered when the node takes the record of the next epoch is in
//!    no group, and never will be. The node forwards it again, for the new epoch ([`Waiting`]).
//!
//! So a command changes the state at most once: the leader of an epoch takes each batch of an incarnation once
//! ([`Taking`]), batches of other epochs not at all, and when its epoch ends it forgets what it took and did not decide.
//! The node of the leader does the same as all others: its own commands go through `Waiting` and `Taking` too.

mod held;
mod lane;
mod taking;
mod waiting;

pub use held::Held;
pub use lane::{Lane, RESEND, WINDOW};
pub use taking::{GivenUp, MAX_INCARNATIONS, Taking, Verdict};
pub use waiting::{Full, Waiting};
