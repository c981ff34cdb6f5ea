"""autocompress.cli"""
