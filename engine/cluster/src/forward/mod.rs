//! Commands on their way from their node to the leader, and answers on their way back.
//!
//! Messages between nodes can be lost, doubled, late and out of order. Both ways are therefore numbered, and what the
//! other side has not confirmed goes again ([`Lane`]). What a node forwarded has one of three ends:
//!
//! 1. A **group** answers it. The node takes the group from the stream.
//! 2. The leader's **answers** answer it: its command stored nothing, so it is in no group. They hold once the node has
//!    taken the group before the decision ([`Held`]). Until the node has confirmed them, groups that decide later commands
//!    of the node carry them too ([`Taking::riders`]), so that the node's commands are answered in their order.
//! 3. The **epoch** ends. What no group and no answers have answered when the node takes the record of the next epoch is in
//!    no group, and never will be. The node forwards it again, for the new epoch ([`Waiting`]).
//! 4. The **node** gives it up ([`Waiting::expire`]): nobody has answered it within [`PATIENCE`]. What becomes of it is not
//!    known then. No leader takes it any more: the node sends a command only while it has more than [`FRESH`] left, and a leader takes
//!    no batch that may be older than that. A batch names a heartbeat of the leader, so the leader knows its age by its own
//!    clock. What a leader took before, it may decide later.
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
pub use taking::{
    MAX_ANSWERS, MAX_ANSWERS_OF_NODE, MAX_INCARNATIONS, NoRoom, RECEIPT, Taking, Verdict,
};
pub use waiting::{FRESH, MAX_COMMAND, NotAdded, PATIENCE, Waiting};
