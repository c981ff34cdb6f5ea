"""autocompress.bundled"""
