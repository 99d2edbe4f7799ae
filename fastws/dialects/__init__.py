"""Pure translators between one kind of client and the one model under all of them: a file a protocol."""
