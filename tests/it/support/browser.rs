//! A real browser: Debian's Chromium, driven through chromedriver.

use std::process::{Child, Command, Stdio};

use fantoccini::{Client, ClientBuilder};
use serde_json::json;
use tempfile::TempDir;

use super::{free_port, program, wait_until};

/// A chromedriver and its sessions, killed when dropped.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    folder: TempDir,
}

/// How a session's browser is to be.
#[derive(Default, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) dark: bool,
    pub(crate) without_javascript: bool,
    pub(crate) without_third_party_cookies: bool,
}

impl Wish {
    /// A wide window, light, with JavaScript.
    pub(crate) const WIDE: Wish =
        Wish { width: 1000, height: 1100, dark: false, without_javascript: false, without_third_party_cookies: false };
}

impl Browser {
    pub(crate) fn start() -> Browser {
        let port = free_port();
        program("chromium", "chromium");
        let folder = tempfile::Builder::new().prefix("weir-browser").tempdir().unwrap();
        let mut command = Command::new(program("chromedriver", "chromium-driver"));
        command.arg(format!("--port={port}")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.env("TMPDIR", folder.path());
        let driver = command.spawn().unwrap();
        wait_until("chromedriver answers", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Browser { driver, port, folder }
    }

    /// A new browser with nothing in it.
    pub(crate) async fn open(&self, wish: Wish) -> Client {
        let profile = tempfile::Builder::new().prefix("profile").tempdir_in(self.folder.path()).unwrap().keep();
        let mut arguments = vec![
            "--headless".to_string(),
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--disable-quic".into(),
            "--no-first-run".into(),
            "--disable-background-networking".into(),
            "--disable-component-update".into(),
            "--disable-sync".into(),
            "--disable-dev-shm-usage".into(),
            "--hide-scrollbars".into(),
            format!("--window-size={},{}", wish.width, wish.height),
            format!("--user-data-dir={}", profile.display()),
        ];
        if wish.dark {
            arguments.push("--force-dark-mode".into());
            arguments.push("--blink-settings=preferredColorScheme=0".into());
        }
        let scripts = if wish.without_javascript { 2 } else { 1 };
        let options = json!({
            "args": arguments,
            "binary": program("chromium", "chromium"),
            "prefs": {
                "profile.managed_default_content_settings.javascript": scripts,
                "profile.block_third_party_cookies": wish.without_third_party_cookies,
                "profile.cookie_controls_mode": u8::from(wish.without_third_party_cookies),
            },
        });
        let capabilities = json!({ "browserName": "chrome", "goog:chromeOptions": options });
        let capabilities = capabilities.as_object().unwrap().clone();
        let driver = format!("http://127.0.0.1:{}", self.port);
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&driver)
            .await
            .unwrap();
        client.set_window_size(wish.width, wish.height).await.unwrap();
        client
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ended by a signal, chromedriver would leave the browsers of a test that failed behind. It closes its connection
        // when it has ended them.
        super::ask(([127, 0, 0, 1], self.port).into(), "GET", "/shutdown", &[], "");
        self.driver.wait().unwrap();
    }
}
