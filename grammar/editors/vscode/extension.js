// Starts `splatdsl lsp` and hands it the settings; everything else is the server's work.

const { workspace, window } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

function settings() {
  const { pedantic, steps, renderer } = workspace.getConfiguration("splatdsl");
  return { pedantic, steps, renderer };
}

async function start() {
  const [command, ...args] = workspace.getConfiguration("splatdsl").get("command");
  client = new LanguageClient("splatdsl", "splatdsl", { command, args }, {
    documentSelector: [{ language: "loss" }, { scheme: "file", language: "yaml" }],
    initializationOptions: settings(),
    synchronize: { fileEvents: workspace.createFileSystemWatcher("**/{*.loss,splatdsl.toml,pyproject.toml}") },
  });
  try {
    await client.start();
  } catch (error) {
    client = undefined;
    window.showErrorMessage(
      `splatdsl: \`${[command, ...args].join(" ")}\` does not start (${error.message}). ` +
        "Install it with: pip install 'splatdsl[lsp]', or set splatdsl.command.",
    );
  }
}

async function stop() {
  const ending = client;
  client = undefined;
  if (ending) await ending.stop();
}

async function configured(event) {
  if (event.affectsConfiguration("splatdsl.command")) {
    await stop();
    await start();
  } else if (client && event.affectsConfiguration("splatdsl")) {
    await client.sendNotification("workspace/didChangeConfiguration", { settings: { splatdsl: settings() } });
  }
}

exports.activate = async (context) => {
  context.subscriptions.push(workspace.onDidChangeConfiguration(configured));
  await start();
};

exports.deactivate = stop;
