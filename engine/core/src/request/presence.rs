//! Checks the users whose presence a command asks for.

use trunkline_proto::ErrorCode;
use trunkline_proto::names::is_name;

use crate::exchange::Failure;

/// The maximum number of users that one command names.
const MOST_USERS: usize = 1_000;

/// Checks the users that a command about presence names: at most 1,000, each with a valid name.
///
/// # Errors
/// There are too many users, or a name is not valid. The error is the code and text of the reply.
pub fn check_presence<'a>(users: impl Iterator<Item = &'a str> + Clone) -> Result<(), Failure> {
    if users.clone().count() > MOST_USERS {
        let text = "presence names at most 1,000 users at a time";
        return Err((ErrorCode::LimitExceeded, text));
    }
    if !{ users }.all(is_name) {
        let text = "a user is 1 to 64 bytes of [A-Za-z0-9._@-]";
        return Err((ErrorCode::BadRequest, text));
    }
    Ok(())
}
