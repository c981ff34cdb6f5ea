"""autocompress.search"""
