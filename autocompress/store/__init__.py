"""autocompress.store"""
