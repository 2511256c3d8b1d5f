"""``splatdsl lsp``: the language server on standard input and output."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, BinaryIO

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path

from ..dsl.files import LOSS_LIMIT, Unreadable, read_text
from . import actions, calls, completion, convert, hover, navigate, outline, rename
from .document import Document
from .settings import Settings, read_settings

DELAY = 0.15
"""Seconds without a keystroke after which a text is checked."""

_REQUEST_FAILED = -32803
FIX_ALL = f"{lsp.CodeActionKind.SourceFixAll.value}.{convert.TOOL}"


class Server(LanguageServer):
    """The open files and the settings.

    Editors send whole texts: programs are small, and the text is then the editor's own, whatever its lines end with.
    """

    def __init__(self) -> None:
        super().__init__(
            convert.TOOL, version("splatdsl"), text_document_sync_kind=lsp.TextDocumentSyncKind.Full, max_workers=2
        )
        self.settings = Settings()
        self.ended = False
        self._open: dict[str, Document] = {}
        self._waiting: dict[str, asyncio.TimerHandle] = {}

    # Files

    def document(self, uri: str) -> Document:
        """The present version of a file, open or on disk."""
        held = self._open.get(uri)
        if held is not None:
            return held
        path = to_fs_path(uri) or uri
        return self._make(uri, path, self.read(path) or "", None)

    def read(self, path: str) -> str | None:
        """The text of a file as it is open in the editor, else on disk."""
        for document in self._open.values():
            if os.path.normpath(document.path) == os.path.normpath(path):
                return document.source.text
        try:  # a pipe would never end
            return read_text(path, LOSS_LIMIT) if os.path.isfile(path) else None
        except (Unreadable, ValueError):
            return None

    def _make(self, uri: str, path: str, text: str, number: int | None) -> Document:
        held = self._open.get(uri)
        before = (held.__dict__["checked"][0] or held.before) if held and "checked" in held.__dict__ else None
        encoding = str(self.workspace.position_encoding)
        if held is not None and before is None:
            before = held.before
        return Document(uri, path, text, number, _encoding(encoding), self.settings, self.read, before)

    def update(self, uri: str, number: int | None, wait: float) -> None:
        """Take over the text that the editor has now, and report on it."""
        held = self._open.get(uri)
        if held is not None and held.version is not None and number is not None and number < held.version:
            return  # overtaken
        text = self.workspace.get_text_document(uri).source
        self._open[uri] = self._make(uri, to_fs_path(uri) or uri, text, number)
        self._later(uri, wait)

    def close(self, uri: str) -> None:
        """Forget a file, and what was found in it."""
        self._cancel(uri)
        if self._open.pop(uri, None) is not None:
            self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri=uri, diagnostics=[]))

    def configure(self, given: Any) -> None:
        """Take over settings, say what is wrong with them, and check everything again."""
        self.settings, problems = read_settings(given, self.settings)
        for problem in problems:
            self.window_show_message(lsp.ShowMessageParams(lsp.MessageType.Warning, problem))
        for uri, held in list(self._open.items()):
            text = held.positions.text
            self._open[uri] = self._make(uri, held.path, text, held.version)
            self._later(uri, 0)

    def refresh(self) -> None:
        """Check everything again: a file that others use has changed."""
        self.configure(None)

    # Findings

    def _cancel(self, uri: str) -> None:
        timer = self._waiting.pop(uri, None)
        if timer is not None:
            timer.cancel()

    def _later(self, uri: str, seconds: float) -> None:
        self._cancel(uri)
        loop = asyncio.get_running_loop()
        self._waiting[uri] = loop.call_later(seconds, self._publish, uri)

    def _publish(self, uri: str) -> None:
        self._waiting.pop(uri, None)
        document = self._open.get(uri)
        if document is None:
            return
        found = [convert.finding(document, d) for d in document.findings]
        if document.failure is not None:
            what = f"{type(document.failure).__name__} while checking {document.path}"
            message = f"bug in splatdsl: {what}; please report it with the file"
            self.window_log_message(lsp.LogMessageParams(lsp.MessageType.Error, message))
        self.text_document_publish_diagnostics(
            lsp.PublishDiagnosticsParams(uri=uri, version=document.version, diagnostics=found)
        )


def _encoding(value: str) -> str:
    return value if value in ("utf-8", "utf-16", "utf-32") else "utf-16"


def build() -> Server:
    """The server with everything that it can do registered."""
    server = Server()
    for register in (_lifecycle, _reading, _navigation, _editing):
        register(server)
    return server


def _at(server: Server, params: Any) -> tuple[Document, int]:
    """The file and the offset that a request is about."""
    document = server.document(params.text_document.uri)
    return document, document.offset(params.position.line, params.position.character)


def _lifecycle(server: Server) -> None:
    @server.feature(lsp.INITIALIZE)
    def initialize(params: lsp.InitializeParams) -> None:
        server.settings, problems = read_settings(params.initialization_options)
        for problem in problems:
            server.window_show_message(lsp.ShowMessageParams(lsp.MessageType.Warning, problem))

    @server.feature(lsp.SHUTDOWN)
    def shutdown(params: None) -> None:
        server.ended = True

    @server.feature(lsp.WORKSPACE_DID_CHANGE_CONFIGURATION)
    def configure(params: lsp.DidChangeConfigurationParams) -> None:
        server.configure(params.settings)

    @server.feature(lsp.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def watched(params: lsp.DidChangeWatchedFilesParams) -> None:
        server.refresh()

    @server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: lsp.DidOpenTextDocumentParams) -> None:
        server.update(params.text_document.uri, params.text_document.version, 0)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: lsp.DidChangeTextDocumentParams) -> None:
        server.update(params.text_document.uri, params.text_document.version, DELAY)

    @server.feature(lsp.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: lsp.DidSaveTextDocumentParams) -> None:
        server.refresh()

    @server.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: lsp.DidCloseTextDocumentParams) -> None:
        server.close(params.text_document.uri)


def _reading(server: Server) -> None:
    @server.feature(lsp.TEXT_DOCUMENT_HOVER)
    def on_hover(params: lsp.HoverParams) -> lsp.Hover | None:
        document, offset = _at(server, params)
        found = hover.hover(document, offset)
        return lsp.Hover(convert.markup(found.markdown), convert.range_of(document, found.span)) if found else None

    @server.feature(
        lsp.TEXT_DOCUMENT_COMPLETION, lsp.CompletionOptions(trigger_characters=[".", '"'], resolve_provider=False)
    )
    def on_completion(params: lsp.CompletionParams) -> lsp.CompletionList:
        document, offset = _at(server, params)
        text = server.client_capabilities.text_document
        item = text.completion.completion_item if text and text.completion else None
        snippets = bool(item and item.snippet_support)
        return convert.completion_list(document, completion.complete(document, offset), snippets)

    @server.feature(
        lsp.TEXT_DOCUMENT_SIGNATURE_HELP,
        lsp.SignatureHelpOptions(trigger_characters=["(", ","], retrigger_characters=["=", ")"]),
    )
    def on_signature(params: lsp.SignatureHelpParams) -> lsp.SignatureHelp | None:
        found = calls.signature_help(*_at(server, params))
        return convert.signature(found) if found else None

    @server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    def on_symbols(params: lsp.DocumentSymbolParams) -> list[lsp.DocumentSymbol]:
        document = server.document(params.text_document.uri)
        return convert.symbols(document, outline.outline(document))

    @server.feature(lsp.TEXT_DOCUMENT_FOLDING_RANGE)
    def on_folding(params: lsp.FoldingRangeParams) -> list[lsp.FoldingRange]:
        document = server.document(params.text_document.uri)
        return [
            lsp.FoldingRange(first, last, kind=lsp.FoldingRangeKind.Comment if comment else None)
            for first, last, comment in outline.folds(document)
        ]


def _navigation(server: Server) -> None:
    @server.feature(lsp.TEXT_DOCUMENT_DEFINITION)
    def on_definition(params: lsp.DefinitionParams) -> lsp.Location | None:
        found = navigate.definition(*_at(server, params))
        if found is None:
            return None
        document, span = found
        return lsp.Location(convert.uri_of(document), convert.range_of(document, span))

    @server.feature(lsp.TEXT_DOCUMENT_REFERENCES)
    def on_references(params: lsp.ReferenceParams) -> list[lsp.Location]:
        document, offset = _at(server, params)
        declared = params.context.include_declaration
        return [
            lsp.Location(document.uri, convert.range_of(document, place.span))
            for place in navigate.places(document, offset)
            if declared or not place.declares
        ]

    @server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_HIGHLIGHT)
    def on_highlight(params: lsp.DocumentHighlightParams) -> list[lsp.DocumentHighlight]:
        document, offset = _at(server, params)
        kinds = {True: lsp.DocumentHighlightKind.Write, False: lsp.DocumentHighlightKind.Read}
        return [
            lsp.DocumentHighlight(convert.range_of(document, place.span), kinds[place.declares])
            for place in navigate.places(document, offset)
        ]


def _editing(server: Server) -> None:
    @server.feature(lsp.TEXT_DOCUMENT_PREPARE_RENAME)
    def on_prepare(params: lsp.PrepareRenameParams) -> lsp.PrepareRenamePlaceholder:
        document, offset = _at(server, params)
        place = _or_refuse(lambda: rename.renamable(document, offset))
        return lsp.PrepareRenamePlaceholder(
            range=convert.range_of(document, place.span), placeholder=document.source.slice(place.span)
        )

    @server.feature(lsp.TEXT_DOCUMENT_RENAME)
    def on_rename(params: lsp.RenameParams) -> lsp.WorkspaceEdit:
        document, offset = _at(server, params)
        return convert.workspace_edit(document, _or_refuse(lambda: rename.rename(document, offset, params.new_name)))

    @server.feature(lsp.TEXT_DOCUMENT_FORMATTING)
    def on_format(params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit]:
        document = server.document(params.text_document.uri)
        return convert.text_edits(document, actions.format_edits(document))

    @server.feature(
        lsp.TEXT_DOCUMENT_CODE_ACTION,
        lsp.CodeActionOptions(code_action_kinds=[lsp.CodeActionKind.QuickFix, lsp.CodeActionKind.SourceFixAll]),
    )
    def on_actions(params: lsp.CodeActionParams) -> list[lsp.CodeAction]:
        document = server.document(params.text_document.uri)
        start = document.offset(params.range.start.line, params.range.start.character)
        end = document.offset(params.range.end.line, params.range.end.character)
        found: list[lsp.CodeAction] = []
        if _wanted(params.context.only, lsp.CodeActionKind.QuickFix.value):
            found += [convert.code_action(document, action) for action in actions.quick_fixes(document, start, end)]
        if _wanted(params.context.only, FIX_ALL):
            edits = actions.fix_all(document)
            if edits:
                edit = convert.workspace_edit(document, edits)
                found.append(lsp.CodeAction("Fix all that is safe to fix", kind=FIX_ALL, edit=edit))
        return found


def _wanted(only: Any, kind: str) -> bool:
    """Whether an editor asks for actions of a kind: a wider kind asks for the narrower ones."""
    if only is None:
        return True
    asked = [getattr(item, "value", item) for item in only]
    return any(item == "" or kind == item or kind.startswith(f"{item}.") for item in asked)


class _Refusal(JsonRpcException):
    """A request that is answered with a sentence for the user."""


def _or_refuse(do: Callable[[], Any]) -> Any:
    try:
        return do()
    except rename.Refused as reason:
        raise _Refusal(str(reason), _REQUEST_FAILED) from None


def _unexpected(record: logging.LogRecord) -> bool:
    """Refusals are answers; only what went wrong here belongs into the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], _Refusal))


def serve() -> int:
    """Serve one editor on standard input and output until it ends; the exit status."""
    # What anything prints must not get between the messages: it goes to stderr.
    out: BinaryIO = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.getLogger("pygls.protocol.json_rpc").addFilter(_unexpected)
    server = build()
    server.start_io(stdin=sys.stdin.buffer, stdout=out)
    return 0 if server.ended else 1
