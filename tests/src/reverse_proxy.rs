//! nginx and HAProxy in front of a gateway, with the configurations of docs/security.md.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::gateway::Gateway;
use crate::port;
use crate::process::{Process, workspace};
use crate::wait;

/// A running reverse proxy.
#[derive(Debug)]
pub struct ReverseProxy {
    /// The address for WebSockets.
    pub ws: SocketAddr,
    /// The address for the client API.
    pub http: SocketAddr,
    process: Process,
    _folder: TempDir,
}

/// Finds a program, also where only root's `PATH` leads.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut files = folders.map(|folder| folder.join(name));
    files.find(|file| file.is_file())
}

/// Returns the block of docs/security.md in a language, for these ports.
fn block(language: &str, gateway: &Gateway, ws: SocketAddr, http: SocketAddr) -> String {
    let page = std::fs::read_to_string(workspace().join("docs/security.md")).expect("the page");
    let begin = format!("```{language}\n");
    let block = page
        .split_once(&begin)
        .and_then(|(_, rest)| rest.split_once("```"));
    let (block, _) = block.unwrap_or_else(|| panic!("the page has no block of {language}"));
    let mut text = block.to_owned();
    for (documented, here) in [
        ("127.0.0.1:7700", gateway.ws().to_string()),
        ("127.0.0.1:7702", gateway.http().to_string()),
        ("*:8080", ws.to_string()),
        ("*:8081", http.to_string()),
    ] {
        assert!(text.contains(documented), "{documented} is not in {text}");
        text = text.replace(documented, &here);
    }
    text
}

impl ReverseProxy {
    /// Starts nginx in front of a gateway. Returns `None` where it is not installed.
    pub fn nginx(gateway: &Gateway) -> Option<Self> {
        Self::start(
            "nginx",
            |text, folder| {
                let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|of| format!("{of}_temp_path {};\n", folder.join(of).display()))
                    .concat();
                // The workers of root are another user's, who may not enter the folder.
                let user = match rustix::process::geteuid().is_root() {
                    true => "user root;\n",
                    false => "",
                };
                format!(
                    "daemon off;\n{user}error_log stderr;\npid {}/nginx.pid;\nevents {{}}\n\
                 http {{\naccess_log off;\n{temporary}{text}}}\n",
                    folder.display()
                )
            },
            &["-p", "FOLDER", "-c", "CONFIG"],
            gateway,
        )
    }

    /// Starts HAProxy in front of a gateway. Returns `None` where it is not installed.
    pub fn haproxy(gateway: &Gateway) -> Option<Self> {
        Self::start(
            "haproxy",
            |text, _| text.to_owned(),
            &["-db", "-f", "CONFIG"],
            gateway,
        )
    }

    fn start(
        name: &str,
        whole: impl FnOnce(&str, &Path) -> String,
        arguments: &[&str],
        gateway: &Gateway,
    ) -> Option<Self> {
        let program = find(name)?;
        let folder = TempDir::with_prefix("trunkline-proxy-").expect("a folder can be made");
        let (ws, http) = (port::keep(0), port::keep(0));
        let (ws, http) = (ws.address, http.address);
        let config = folder.path().join("config");
        let text = whole(&block(name, gateway, ws, http), folder.path());
        std::fs::write(&config, text).expect("a file can be written");
        let mut command = Command::new(program);
        for argument in arguments {
            match *argument {
                "FOLDER" => command.arg(folder.path()),
                "CONFIG" => command.arg(&config),
                other => command.arg(other),
            };
        }
        let process = Process::start(&mut command);
        let proxy = Self {
            ws,
            http,
            process,
            _folder: folder,
        };
        for address in [ws, http] {
            wait::until("the proxy to listen", || TcpStream::connect(address).ok());
        }
        Some(proxy)
    }

    /// Returns what the proxy has said.
    pub fn said(&self) -> String {
        self.process.stderr()
    }
}
