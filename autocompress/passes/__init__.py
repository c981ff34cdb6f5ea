"""autocompress.passes"""
