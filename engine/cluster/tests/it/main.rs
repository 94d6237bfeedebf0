//! Tests of the public interface, one module per subject.

#[cfg(test)]
mod chain_rules;
#[cfg(test)]
mod forms;
#[cfg(test)]
mod forwarding;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod made;
#[cfg(test)]
mod presence;
#[cfg(test)]
mod stops;
#[cfg(test)]
mod topics;
#[cfg(test)]
mod world;
