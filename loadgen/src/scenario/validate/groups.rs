//! The rules for groups, and for the users that a run needs for them.

use super::{Check, must};
use crate::scenario::sizing::Sizing;
use crate::scenario::{Scenario, Traffic};
use crate::units::grouped;

/// The maximum number of groups of one kind per user, on average. It bounds the memory of a run.
const MAX_PER_USER: f64 = 64.0;

pub(super) fn check(traffic: &Traffic) -> Check {
    let Some(groups) = &traffic.groups else {
        return Ok(());
    };
    must(
        (0.0..=1.0).contains(&groups.share),
        "traffic.groups",
        "share is the part of the messages that goes to groups: 0 to 1",
    )?;
    must(
        groups.per_user > 0.0 && groups.per_user <= MAX_PER_USER,
        "traffic.groups",
        format!("per_user is the number of groups of a user: above 0, up to {MAX_PER_USER}"),
    )?;
    let mut large = groups.large.iter();
    must(
        large.all(|large| large.size >= 2 && large.count > 0),
        "traffic.groups",
        "a large group has at least 2 members, and its count is at least 1",
    )
}

/// Checks that the share has the users that its groups need.
pub(super) fn runnable(scenario: &Scenario) -> Check {
    let Some(groups) = &scenario.traffic.groups else {
        return Ok(());
    };
    let users = Sizing::of(scenario).users;
    let largest = groups.largest(users);
    must(
        largest <= users,
        "traffic.groups",
        format!(
            "a group of {} members needs as many users, and the share has {}: raise the share, use \
             --connections {largest}, or let the group be left out with optional = true",
            grouped(largest),
            grouped(users)
        ),
    )?;
    let large = groups.large_of(users);
    let members: f64 = large.map(|it| it.size as f64 * it.count as f64).sum();
    must(
        members <= users as f64 * MAX_PER_USER,
        "traffic.groups",
        format!(
            "each of the share's {} users would be in {:.0} large groups: {MAX_PER_USER} at most, so \
             lower count or raise the share",
            grouped(users),
            members / users as f64
        ),
    )
}
