"""autocompress.runtimes"""
