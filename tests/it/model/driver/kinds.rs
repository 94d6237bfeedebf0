//! The kinds of trouble of three gateways, and what ends them.

use rand::RngExt;
use rand::seq::IndexedRandom;
use trunkline_tests::cluster::{NODES, command};
use trunkline_tests::relay::Cut;

use super::Driver;
use super::three::Part;

/// A kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    KillLeader,
    KillFollower,
    KillTwo,
    KillAll,
    PauseLeader,
    PauseFollower,
    StopLeader,
    StopFollower,
    StepDown,
    CutLeader,
    CutFollower,
    KillServer,
    KillServers,
    PauseServer,
}

impl Kind {
    pub(super) const ALL: [Self; 14] = [
        Self::KillLeader,
        Self::PauseLeader,
        Self::KillFollower,
        Self::StopLeader,
        Self::CutLeader,
        Self::KillServer,
        Self::KillTwo,
        Self::StepDown,
        Self::PauseFollower,
        Self::KillAll,
        Self::CutFollower,
        Self::KillServers,
        Self::StopFollower,
        Self::PauseServer,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::KillLeader => "killed leaders",
            Self::KillFollower => "killed followers",
            Self::KillTwo => "two killed gateways",
            Self::KillAll => "all gateways killed",
            Self::PauseLeader => "paused leaders",
            Self::PauseFollower => "paused followers",
            Self::StopLeader => "stopped leaders",
            Self::StopFollower => "stopped followers",
            Self::StepDown => "leaders that step down",
            Self::CutLeader => "leaders that are cut off",
            Self::CutFollower => "followers that are cut off",
            Self::KillServer => "killed NATS servers",
            Self::KillServers => "several NATS servers killed",
            Self::PauseServer => "paused NATS servers",
        }
    }
}

/// What has to be done so that all is well again.
pub(super) enum Remedy {
    Start(Vec<usize>),
    /// The gateways end by themselves first.
    StartStopped(usize),
    Resume(usize),
    Mend(usize),
    StartServers(Vec<usize>),
    ResumeServer(usize),
    Nothing,
}

/// A trouble that goes on.
pub(super) struct Trouble {
    pub(super) remedy: Remedy,
    /// The gateways that answer meanwhile; none if commands wait for the remedy.
    pub(super) healthy: Vec<usize>,
    /// The gateways whose connections are gone.
    pub(super) gone: Vec<usize>,
}

impl Driver<Part<'_>> {
    /// Begins a trouble.
    pub(super) fn begin_trouble(&mut self, kind: Kind) -> Trouble {
        let all = [0, 1, 2];
        let three = &mut *self.place.three;
        let cluster = &mut three.cluster;
        let leader = cluster.leader(&all);
        let step = self.random.random_range(1..NODES.len());
        let follower = (leader + step) % NODES.len();
        let server = self.random.random_range(0..NODES.len());
        let mut gone = Vec::new();
        let mut silent = Vec::new();
        let remedy = match kind {
            Kind::KillLeader | Kind::KillFollower | Kind::KillTwo | Kind::KillAll => {
                gone = match kind {
                    Kind::KillLeader => vec![leader],
                    Kind::KillFollower => vec![follower],
                    Kind::KillTwo => vec![leader, follower],
                    _ => all.to_vec(),
                };
                gone.iter().for_each(|at| cluster.nodes[*at].kill());
                Remedy::Start(gone.clone())
            }
            Kind::StopLeader | Kind::StopFollower => {
                let at = if kind == Kind::StopLeader {
                    leader
                } else {
                    follower
                };
                cluster.nodes[at].ask_to_stop();
                gone = vec![at];
                Remedy::StartStopped(at)
            }
            Kind::PauseLeader | Kind::PauseFollower => {
                let at = if kind == Kind::PauseLeader {
                    leader
                } else {
                    follower
                };
                cluster.nodes[at].process().pause();
                silent = vec![at];
                Remedy::Resume(at)
            }
            Kind::StepDown => {
                // Refused while no other node may lead.
                let _ = command(&cluster.servers, &["step-down"]);
                Remedy::Nothing
            }
            Kind::CutLeader | Kind::CutFollower => {
                let at = if kind == Kind::CutLeader {
                    leader
                } else {
                    follower
                };
                let cuts = [Cut::Both, Cut::Out, Cut::In];
                three
                    .relay
                    .cut(at, *cuts.choose(&mut self.random).expect("a cut"));
                silent = vec![at];
                Remedy::Mend(at)
            }
            Kind::KillServer => {
                cluster.servers.kill(server);
                Remedy::StartServers(vec![server])
            }
            Kind::KillServers => {
                let mut dead = all_but(&[server]);
                if self.random.random_bool(0.5) {
                    dead.push(server);
                }
                dead.iter().for_each(|server| cluster.servers.kill(*server));
                silent = all.to_vec();
                Remedy::StartServers(dead)
            }
            Kind::PauseServer => {
                cluster.servers.pause(server);
                Remedy::ResumeServer(server)
            }
        };
        silent.extend(&gone);
        let healthy = all_but(&silent);
        let led = [Kind::KillLeader, Kind::PauseLeader, Kind::CutLeader].contains(&kind);
        if led && self.random.random_bool(0.6) {
            cluster.leader(&healthy);
        }
        Trouble {
            remedy,
            healthy,
            gone,
        }
    }

    /// Ends a trouble.
    pub(super) fn remedy(&mut self, remedy: Remedy) {
        let three = &mut *self.place.three;
        let cluster = &mut three.cluster;
        match remedy {
            Remedy::Start(gone) => gone.iter().for_each(|at| cluster.nodes[*at].start_again()),
            Remedy::StartStopped(at) => {
                let exit = cluster.nodes[at].ended();
                assert!(exit.status.success(), "{exit:?}");
                cluster.nodes[at].start_again();
            }
            Remedy::Resume(at) => cluster.nodes[at].process().resume(),
            Remedy::Mend(at) => three.relay.cut(at, Cut::Nothing),
            Remedy::StartServers(dead) => {
                dead.iter()
                    .for_each(|server| cluster.servers.restart(*server));
            }
            Remedy::ResumeServer(server) => cluster.servers.resume(server),
            Remedy::Nothing => {}
        }
    }
}

/// Returns the places without some of them.
fn all_but(some: &[usize]) -> Vec<usize> {
    let all = 0..NODES.len();
    all.filter(|at| !some.contains(at)).collect()
}
